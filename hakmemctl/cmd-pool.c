/* hakmemctl pool: the stock, by size of extent, and what its pages are made of. */
#include <inttypes.h>
#include <stdio.h>

#include "common/superslab.h"
#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"
#include "hakmemctl/table.h"

static void print_text(const char *label, const char *text)
{
    char clean[128];
    output_clean(text, clean, sizeof(clean));
    printf("%-18s %s\n", label, clean[0] ? clean : "-");
}

static void print_size(const char *label, uint64_t n_bytes, const char *note)
{
    char size[OUTPUT_CELL_BYTES];
    printf("%-18s %s%s\n", label, output_size(n_bytes, size), note);
}

static int print_orders(const Hakmem__PoolReply *pool)
{
    static const struct table_column columns[] = {{"EXTENT", true},
                                                  {"FRESH", true},
                                                  {"RECYCLED", true},
                                                  {"BYTES", true},
                                                  {"2 MiB PAGES", true}};
    struct table *table = table_new(columns, 5);
    if (!table)
        return CTL_FAILED;
    int code = CTL_OK;
    for (size_t i = 0; i < pool->n_orders && code == CTL_OK; i++) {
        const Hakmem__PoolOrder *order = pool->orders[i];
        uint64_t extent_bytes = order->extent_slabs * (uint64_t)SUPERSLAB_BYTES;
        uint64_t n_bytes = (order->n_extents + order->n_recycled) * extent_bytes;
        char text[5][OUTPUT_CELL_BYTES];
        const char *cells[] = {
            output_size(extent_bytes, text[0]), output_count(order->n_extents, text[1]),
            output_count(order->n_recycled, text[2]), output_size(n_bytes, text[3]),
            output_share(order->huge_bytes, n_bytes, text[4])};
        if (!table_add(table, cells))
            code = CTL_FAILED;
    }
    if (table_n_rows(table) > 0) {
        putchar('\n');
        table_print(table);
    }
    table_free(table);
    return code;
}

/* Where there is but one node there is nothing to tell apart. */
static int print_nodes(const Hakmem__PoolReply *pool)
{
    static const struct table_column columns[] = {
        {"NODE", true}, {"FRESH", true}, {"LEASES", true}, {"FROM ELSEWHERE", true}};
    if (pool->n_nodes < 2)
        return CTL_OK;
    struct table *table = table_new(columns, 4);
    if (!table)
        return CTL_FAILED;
    int code = CTL_OK;
    for (size_t i = 0; i < pool->n_nodes && code == CTL_OK; i++) {
        const Hakmem__PoolNode *node = pool->nodes[i];
        char text[4][OUTPUT_CELL_BYTES];
        const char *cells[] = {output_count(node->id, text[0]),
                               output_size(node->fresh_bytes, text[1]),
                               output_count(node->leases_total, text[2]),
                               output_count(node->remote_leases_total, text[3])};
        if (!table_add(table, cells))
            code = CTL_FAILED;
    }
    putchar('\n');
    table_print(table);
    table_free(table);
    return code;
}

static int print_pool(const Hakmem__PoolReply *pool)
{
    char note[128], share[OUTPUT_CELL_BYTES];

    snprintf(note, sizeof(note), ", %s in 2 MiB pages",
             output_share(pool->stock_huge_bytes, pool->stock_bytes, share));
    print_size("stock", pool->stock_bytes, note);
    print_size("target", pool->target_bytes, "");
    print_size("minimum", pool->min_bytes, "");
    print_size("maximum", pool->max_bytes, "");
    print_size("lease rate", pool->lease_rate_bytes_per_second, "/s");
    print_text("backing wanted", pool->backing_wanted);
    print_text("backing achieved", pool->backing_achieved);
    print_text("shmem_enabled", pool->shmem_enabled);
    print_text("pressure source",
               pool->pressure_sources[0] ? pool->pressure_sources : pool->pressure_source);
    printf("%-18s %" PRIu64 " of %" PRIu64 "\n", "descriptors", pool->fd_used, pool->fd_limit);
    int code = print_orders(pool);
    return code == CTL_OK ? print_nodes(pool) : code;
}

int cmd_pool(const struct invocation *invocation)
{
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__PoolQuery query = HAKMEM__POOL_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_POOL;
    request.pool = &query;
    Hakmem__Reply *reply;
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_POOL, &reply);
    if (code == CTL_OK && invocation->json) {
        code = output_json(output_message_json(&reply->pool->base)) ? CTL_OK : CTL_FAILED;
    } else if (code == CTL_OK) {
        code = print_pool(reply->pool);
        if (!output_flush())
            code = CTL_FAILED;
    }
    session_close(session);
    return code;
}
