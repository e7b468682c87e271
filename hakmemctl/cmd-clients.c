/*
 * hakmemctl clients [PID]: who holds how much. With a PID, that client's size classes too: live,
 * cached and fragmented bytes, as it counts them itself in its ledger.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "hakmemctl/ask.h"
#include "hakmemctl/clients-table.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

static int print_list(Hakmem__ClientsReply *clients)
{
    struct table *table = clients_table_new(clients);
    if (!table) {
        fputs("hakmemctl: out of memory\n", stderr);
        return CTL_FAILED;
    }
    if (clients->n_clients == 0)
        puts("no clients");
    else
        table_print(table);
    if (clients->total > clients->n_clients)
        printf("… and %zu more\n", (size_t)clients->total - clients->n_clients);
    table_free(table);
    return CTL_OK;
}

static int print_classes(const Hakmem__Client *client)
{
    static const struct table_column columns[] = {{"BLOCK", true}, {"SPANS", true},
                                                  {"LIVE", true},  {"CACHED", true},
                                                  {"FREE", true},  {"IN USE", true}};
    struct table *table = table_new(columns, 6);
    if (!table)
        return CTL_FAILED;
    for (size_t i = 0; i < client->n_classes; i++) {
        const Hakmem__ClassUsage *usage = client->classes[i];
        char text[6][OUTPUT_CELL_BYTES];
        const char *cells[] = {output_count(usage->block_bytes, text[0]),
                               output_size(usage->span_bytes, text[1]),
                               output_size(usage->live_bytes, text[2]),
                               output_size(usage->cached_bytes, text[3]),
                               output_size(usage->fragmented_bytes, text[4]),
                               output_share(usage->live_bytes, usage->span_bytes, text[5])};
        if (usage->span_bytes == 0)
            continue;
        if (!table_add(table, cells)) {
            table_free(table);
            return CTL_FAILED;
        }
    }
    if (table_n_rows(table) > 0) {
        putchar('\n');
        table_print(table);
    }
    table_free(table);
    return CTL_OK;
}

static int show_all(const struct invocation *invocation, struct session *session)
{
    Hakmem__ClientsQuery query = HAKMEM__CLIENTS_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_CLIENTS;
    request.clients = &query;
    Hakmem__Reply *reply;
    int code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_CLIENTS, &reply);
    if (code != CTL_OK)
        return code;
    clients_sort(reply->clients);
    if (invocation->json)
        return output_json(output_message_json(&reply->clients->base)) ? CTL_OK : CTL_FAILED;
    code = print_list(reply->clients);
    return code == CTL_OK && !output_flush() ? CTL_FAILED : code;
}

static int show_one(const struct invocation *invocation, struct session *session, uint32_t pid)
{
    Hakmem__ClientQuery query = HAKMEM__CLIENT_QUERY__INIT;
    query.pid = pid;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_CLIENT;
    request.client = &query;
    Hakmem__Reply *reply;
    int code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_CLIENTS, &reply);
    if (code != CTL_OK)
        return code;
    if (reply->clients->n_clients == 0) {
        fprintf(stderr, "hakmemctl: process %" PRIu32 " is not a client of hakmemd\n", pid);
        return CTL_FAILED;
    }
    if (invocation->json)
        return output_json(output_message_json(&reply->clients->base)) ? CTL_OK : CTL_FAILED;
    code = print_list(reply->clients);
    for (size_t i = 0; i < reply->clients->n_clients && code == CTL_OK; i++)
        code = print_classes(reply->clients->clients[i]);
    return code == CTL_OK && !output_flush() ? CTL_FAILED : code;
}

int cmd_clients(const struct invocation *invocation)
{
    unsigned long pid = 0;
    if (invocation->n_arguments == 1) {
        char *end;
        errno = 0;
        pid = strtoul(invocation->arguments[0], &end, 10);
        if (errno || *end || pid == 0 || pid > INT32_MAX) {
            fprintf(stderr, "hakmemctl: clients: not a process id: %s\n", invocation->arguments[0]);
            return CTL_USAGE;
        }
    }
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    code = pid ? show_one(invocation, session, (uint32_t)pid) : show_all(invocation, session);
    session_close(session);
    return code;
}
