/* See clients-table.h. */
#include "hakmemctl/clients-table.h"

#include <errno.h>
#include <stdlib.h>

#include "hakmemctl/output.h"

static const struct table_column columns[] = {
    {"PID", true},     {"UID", true},       {"PROGRAM", false},  {"LEASED", true},
    {"ACTIVE", true},  {"IDLE", true},      {"RECLAIMED", true}, {"PINNED", true},
    {"PRIVATE", true}, {"LIVE", true},      {"CACHED", true},    {"LEASES", true},
    {"DENIED", true},  {"FALLBACKS", true},
};
#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

int clients_fetch(struct session *session, Hakmem__ClientsReply **clients_out)
{
    Hakmem__ClientsQuery query = HAKMEM__CLIENTS_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_CLIENTS;
    request.clients = &query;
    Hakmem__Reply *reply;
    int r = session_ask(session, &request, &reply);
    if (r < 0)
        return r;
    if (reply->body_case != HAKMEM__REPLY__BODY_CLIENTS)
        return -EPROTO;
    clients_sort(reply->clients);
    *clients_out = reply->clients;
    return 0;
}

static int compare_clients(const void *left, const void *right)
{
    const Hakmem__Client *a = *(Hakmem__Client *const *)left;
    const Hakmem__Client *b = *(Hakmem__Client *const *)right;
    if (a->leased_bytes != b->leased_bytes)
        return a->leased_bytes < b->leased_bytes ? 1 : -1;
    return a->pid < b->pid ? -1 : a->pid > b->pid;
}

void clients_sort(Hakmem__ClientsReply *clients)
{
    if (clients->n_clients > 1)
        qsort(clients->clients, clients->n_clients, sizeof(clients->clients[0]), compare_clients);
}

static bool add_client(struct table *table, const Hakmem__Client *client)
{
    char text[N_COLUMNS][OUTPUT_CELL_BYTES], program[64];
    const uint64_t sizes[] = {client->leased_bytes,    client->active_bytes, client->idle_bytes,
                              client->reclaimed_bytes, client->pinned_bytes, client->private_bytes,
                              client->live_bytes,      client->cached_bytes};
    const uint64_t counts[] = {client->leases, client->denied, client->fallbacks};
    const char *cells[N_COLUMNS];
    size_t n = 0;

    output_clean(client->program, program, sizeof(program));
    cells[n++] = output_count(client->pid, text[0]);
    cells[n++] = output_count(client->uid, text[1]);
    cells[n++] = program;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++, n++)
        cells[n] = output_size(sizes[i], text[n]);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++, n++)
        cells[n] = output_count(counts[i], text[n]);
    return table_add(table, cells);
}

struct table *clients_table_new(const Hakmem__ClientsReply *clients)
{
    struct table *table = table_new(columns, N_COLUMNS);
    for (size_t i = 0; table && i < clients->n_clients; i++) {
        if (!add_client(table, clients->clients[i])) {
            table_free(table);
            table = NULL;
        }
    }
    return table;
}
