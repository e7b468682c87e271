/* See control.h. */
#include "hakmemd/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/conn.h"
#include "hakmemd/clock.h"
#include "hakmemd/turn.h"

/* What a Client without classes takes in a packet at most: 15 varints of up to 12 bytes and the
 * name. */
#define CLIENT_PACKED_MAX_BYTES 272
#define CLIENTS_MAX             (CONN_REPLY_MAX_BYTES / CLIENT_PACKED_MAX_BYTES - 1)

void control_reply_deinit(struct control_reply *reply)
{
    free(reply->client_list);
    free(reply->client_pointers);
    reply->client_list = NULL;
    reply->client_pointers = NULL;
    reply->n_client_capacity = 0;
}

void control_ping(struct control *control, struct control_reply *memory, Hakmem__Reply *reply)
{
    hakmem__ping_reply__init(&memory->ping);
    memory->ping.pid = (uint32_t)getpid();
    memory->ping.uptime_ms = clock_now_ms() - control->stats->started_ms;
    memory->ping.version = (char *)HAKMEM_VERSION;
    reply->body_case = HAKMEM__REPLY__BODY_PING;
    reply->ping = &memory->ping;
}

static void add_totals(const struct stats *stats, Hakmem__StatsReply *out)
{
    out->leases_total = stats->leases_total;
    out->denied_total = stats_denied_total(stats);
    out->denied_quota_total = stats->denied_quota_total;
    out->denied_memory_total = stats->denied_memory_total;
    out->denied_busy_total = stats->denied_busy_total;
    out->reclaimed_bytes_total = stats->reclaimed_bytes_total;
    out->scrubbed_bytes_total = stats->scrubbed_bytes_total;
    out->discarded_bytes_total = stats->discarded_bytes_total;
    out->created_bytes_total = stats->created_bytes_total;
    out->returned_bytes_total = stats->returned_bytes_total;
    out->reused_bytes_total = stats->reused_bytes_total;
    out->protocol_errors_total = stats->protocol_errors_total;
    out->connections_total = stats->connections_total;
    out->prewarm_errors_total = stats->prewarm_errors_total;
    out->collapse_total = stats->collapse_total;
    out->pressure_events_total = stats->pressure_events_total;
    out->accept_errors_total = stats->accept_errors_total;
    out->reattached_total = stats->reattached_total;
    out->adopted_bytes = stats->adopted_bytes;
    out->store_errors_total = stats->store_errors_total;
    out->cold_leases_total = stats->cold_leases_total;
    out->remote_leases_total = stats->remote_leases_total;
    out->misplaced_bytes_total = stats->misplaced_bytes_total;
    out->throttled_total = stats->throttled_total;
    out->dropped_peers_total = stats->dropped_peers_total;
    struct turn_figures turns = turn_figures();
    out->loop_longest_us = turns.longest_us;
    out->loop_longest_own_us = turns.longest_own_us;
    out->loop_late_total = turns.n_late;
    out->loop_late_own_total = turns.n_late_own;
}

void control_stats(struct control *control, struct control_reply *memory, Hakmem__Reply *reply)
{
    const struct stats *stats = control->stats;
    Hakmem__StatsReply *out = &memory->stats;
    const struct client_usage usage = control->reclaim->figures.usage;

    hakmem__stats_reply__init(out);
    add_totals(stats, out);
    out->clients = control->leases->n_clients;
    out->stock_bytes = stats->stock_bytes;
    out->stock_huge_bytes = stats->stock_huge_bytes;
    out->leased_bytes = stats->leased_bytes;
    out->orphan_bytes = stats->orphan_bytes;
    out->scrubbing_bytes = stats->scrubbing_bytes;
    out->active_bytes = usage.active_bytes;
    out->idle_bytes = usage.idle_bytes;
    out->reclaimed_bytes = usage.reclaimed_bytes;
    out->pinned_bytes = usage.pinned_bytes;
    out->uptime_seconds = (clock_now_ms() - stats->started_ms) / 1000;
    out->pressure_level = (uint32_t)pressure_level(control->pressure);
    out->held_bytes = stats->held_bytes;
    out->detached_clients = stats->n_detached;
    out->stored_descriptors = stats->stored_descriptors;
    out->stock_target_bytes = pool_target_bytes(control->pool);
    reply->body_case = HAKMEM__REPLY__BODY_STATS;
    reply->stats = out;
}

/* The kernel's word in brackets, or "unknown". */
static void read_shmem_enabled(char *text, size_t capacity)
{
    char line[128];
    snprintf(text, capacity, "unknown");
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
    if (!file)
        return;
    if (fgets(line, sizeof(line), file)) {
        char *from = strchr(line, '[');
        char *to = from ? strchr(from, ']') : NULL;
        if (to)
            snprintf(text, capacity, "%.*s", (int)(to - from - 1), from + 1);
    }
    fclose(file);
}

static void fill_node(const struct pool *pool, unsigned node, Hakmem__PoolNode *one,
                      Hakmem__PoolNode **place)
{
    struct pool_node shown;
    pool_describe_node(pool, node, &shown);
    hakmem__pool_node__init(one);
    one->id = (uint32_t)shown.id;
    one->fresh_bytes = shown.fresh_bytes;
    one->leases_total = shown.n_leases;
    one->remote_leases_total = shown.n_remote;
    *place = one;
}

void control_pool(struct control *control, struct control_reply *memory, Hakmem__Reply *reply)
{
    const struct pool *pool = control->pool;
    Hakmem__PoolReply *out = &memory->pool;

    hakmem__pool_reply__init(out);
    for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
        Hakmem__PoolOrder *one = &memory->orders[order];
        hakmem__pool_order__init(one);
        one->extent_slabs = 1u << order;
        one->n_extents = pool_n_fresh(pool, order);
        one->n_recycled = pool->n_recycled[order];
        one->huge_bytes = pool_huge_bytes(pool, order);
        memory->order_pointers[order] = one;
    }
    for (unsigned node = 0; node < pool->topology->n_nodes; node++)
        fill_node(pool, node, &memory->nodes[node], &memory->node_pointers[node]);
    out->n_nodes = pool->topology->n_nodes;
    out->nodes = memory->node_pointers;
    out->n_orders = POOL_N_ORDERS;
    out->orders = memory->order_pointers;
    out->min_bytes = pool->settings.min_bytes;
    out->max_bytes = pool->settings.max_bytes;
    out->target_bytes = pool_target_bytes(pool);
    out->stock_bytes = control->stats->stock_bytes;
    out->stock_huge_bytes = control->stats->stock_huge_bytes;
    out->backing_wanted = (char *)pool_backing_name(pool->settings.backing);
    out->backing_achieved = (char *)pool->achieved;
    read_shmem_enabled(memory->shmem_enabled, sizeof(memory->shmem_enabled));
    out->shmem_enabled = memory->shmem_enabled;
    out->pressure_source = (char *)signs_source(&control->pressure->signs);
    out->pressure_sources = (char *)signs_description(&control->pressure->signs);
    out->host_proc = (char *)control->cgroups->host->proc;
    out->host_sys = (char *)control->cgroups->host->sys;
    out->fd_limit = control->stats->fd_limit;
    out->fd_used = stats_fds_used(control->stats);
    out->fd_ahead = control->stats->n_ahead_fds;
    out->lease_rate_bytes_per_second = pool->demand.rate_bytes;
    reply->body_case = HAKMEM__REPLY__BODY_POOL;
    reply->pool = out;
}

/* A product of a client's figures, which may be anything. */
static uint64_t times(uint64_t blocks, uint32_t block_bytes)
{
    uint64_t n_bytes;
    return __builtin_mul_overflow(blocks, block_bytes, &n_bytes) ? UINT64_MAX : n_bytes;
}

static uint64_t less(uint64_t from, uint64_t what)
{
    return from > what ? from - what : 0;
}

/* Relaxed reads throughout: figures to show, each read once, as the client claims them. */
static void read_class(const struct ledger_class *from, Hakmem__ClassUsage *out)
{
    uint32_t block_bytes = atomic_load_relaxed(&from->block_bytes);
    uint64_t out_blocks = atomic_load_relaxed(&from->out_blocks);
    uint64_t cached_blocks = atomic_load_relaxed(&from->cached_blocks);
    hakmem__class_usage__init(out);
    out->block_bytes = block_bytes;
    out->span_bytes = atomic_load_relaxed(&from->span_bytes);
    out->live_bytes = times(less(out_blocks, cached_blocks), block_bytes);
    out->cached_bytes = times(cached_blocks, block_bytes);
    out->fragmented_bytes = less(out->span_bytes, times(out_blocks, block_bytes));
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static void fill_client(struct client *client, struct control_reply *memory, bool with_classes,
                        Hakmem__Client *out)
{
    struct ledger ledger; /* without slots */

    ledgers_read(client->mapping, 0, &ledger, sizeof(ledger));
    hakmem__client__init(out);
    out->pid = (uint32_t)client->pid;
    out->uid = client->uid;
    out->program = (char *)client_program(client);
    out->leased_bytes = client->leased_bytes;
    out->active_bytes = client->usage.active_bytes;
    out->idle_bytes = client->usage.idle_bytes;
    out->reclaimed_bytes = client->usage.reclaimed_bytes;
    out->pinned_bytes = client->usage.pinned_bytes;
    out->leases = client->n_leases_total;
    out->denied = client->n_denied_total;
    out->connected_ms = clock_now_ms() - client->connected_ms;
    out->private_bytes = ledger.counters.private_bytes;
    out->fallbacks = ledger.counters.fallbacks;
    for (unsigned i = 0; i < LEDGER_N_CLASSES; i++) {
        Hakmem__ClassUsage *usage_of_class = &memory->classes[i];
        read_class(&ledger.classes[i], usage_of_class);
        out->live_bytes = add_capped(out->live_bytes, usage_of_class->live_bytes);
        out->cached_bytes = add_capped(out->cached_bytes, usage_of_class->cached_bytes);
        out->fragmented_bytes = add_capped(out->fragmented_bytes, usage_of_class->fragmented_bytes);
        if (with_classes && usage_of_class->span_bytes > 0)
            memory->class_pointers[out->n_classes++] = usage_of_class;
    }
    if (with_classes)
        out->classes = memory->class_pointers;
}

static int grow_client_list(struct control_reply *memory, size_t n)
{
    if (n <= memory->n_client_capacity)
        return 0;
    Hakmem__Client *list = realloc(memory->client_list, n * sizeof(*list));
    if (!list)
        return -ENOMEM;
    memory->client_list = list;
    Hakmem__Client **pointers = realloc(memory->client_pointers, n * sizeof(Hakmem__Client *));
    if (!pointers)
        return -ENOMEM;
    memory->client_pointers = pointers;
    memory->n_client_capacity = n;
    return 0;
}

int control_clients(struct control *control, uint32_t only_pid, struct control_reply *memory,
                    Hakmem__Reply *reply)
{
    Hakmem__ClientsReply *out = &memory->clients;
    size_t n_max = only_pid ? 1 : control->leases->n_clients;
    int r = grow_client_list(memory, n_max > CLIENTS_MAX ? CLIENTS_MAX : n_max);
    if (r < 0)
        return r;
    hakmem__clients_reply__init(out);
    list_for_each(it, &control->leases->clients)
    {
        struct client *client = list_entry(it, struct client, link);
        if (only_pid && (uint32_t)client->pid != only_pid)
            continue;
        if (out->n_clients == memory->n_client_capacity || out->n_clients == n_max)
            break;
        Hakmem__Client *one = &memory->client_list[out->n_clients];
        fill_client(client, memory, only_pid != 0, one);
        memory->client_pointers[out->n_clients++] = one;
    }
    out->clients = memory->client_pointers;
    out->total = (uint32_t)control->leases->n_clients;
    reply->body_case = HAKMEM__REPLY__BODY_CLIENTS;
    reply->clients = out;
    return 0;
}

void control_trim(struct control *control, struct control_reply *memory, Hakmem__Reply *reply)
{
    hakmem__trim_reply__init(&memory->trim);
    memory->trim.released_bytes =
        pool_trim(control->pool) + control->reclaim->figures.handed_over_bytes;
    reply->body_case = HAKMEM__REPLY__BODY_TRIM;
    reply->trim = &memory->trim;
}

void control_prewarm(struct control *control, uint64_t n_bytes, struct control_reply *memory,
                     Hakmem__Reply *reply)
{
    hakmem__prewarm_reply__init(&memory->prewarm);
    memory->prewarm.target_bytes = pool_ask(control->pool, n_bytes);
    reply->body_case = HAKMEM__REPLY__BODY_PREWARM;
    reply->prewarm = &memory->prewarm;
}

void control_drain(struct control *control, bool resume, struct control_reply *memory,
                   Hakmem__Reply *reply)
{
    control->leases->draining = !resume;
    pressure_set_drained(control->pressure, !resume);
    hakmem__drain_reply__init(&memory->drain);
    reply->body_case = HAKMEM__REPLY__BODY_DRAIN;
    reply->drain = &memory->drain;
}

int control_set_quota(struct control *control, const Hakmem__SetQuota *order,
                      struct control_reply *memory, Hakmem__Reply *reply)
{
    uid_t uid = order->uid;
    int r = quota_set(control->quota, order->key, order->value, order->one_user ? &uid : NULL);
    if (r < 0)
        return r;
    hakmem__set_quota_reply__init(&memory->set_quota);
    reply->body_case = HAKMEM__REPLY__BODY_SET_QUOTA;
    reply->set_quota = &memory->set_quota;
    return 0;
}
