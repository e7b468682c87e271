/*
 * The daemon without its socket and its main(), for the fuzzers: everything that a request reaches,
 * on an event loop that the fuzzer turns itself. It serves DAEMON_INPUTS inputs, each beginning
 * with no client, the same limits and nothing drained; then it must have given back all it made,
 * and a new one takes its place.
 */
#ifndef HAKMEM_TESTS_FUZZ_DAEMON_H
#define HAKMEM_TESTS_FUZZ_DAEMON_H

#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmemd/core.h"
#include "hakmemd/request.h"

#define MIB           ((uint64_t)1 << 20)
#define DAEMON_INPUTS 100u

struct daemon {
    struct core core;
    struct request_handler *handler;
    unsigned n_inputs;
};

static inline struct daemon *daemon_new(void)
{
    /* Little stock and no huge pages: the fuzzer is after the logic, and wants many runs a second.
     */
    const struct core_settings settings = {
        .host = host_default,
        .pool = {.min_bytes = 2 * MIB,
                 .max_bytes = 16 * MIB,
                 .backing = BACKING_4K,
                 .recycled_ms = 1000},
        .idle_ms = 1,
        .reuse = REUSE_SAME_USER,
        .quota = {.defaults = {.bytes_per_user = 64 * MIB,
                               .bytes_per_client = 32 * MIB,
                               .clients_per_user = 3,
                               .descriptors_per_user = 100,
                               .requests_per_second = 1000,
                               .requests_per_user = 1000}},
        .pressure = {.enabled = false, .some_us = 1000, .quiet_ms = 1000}};
    struct store_passed nothing = {0};
    struct daemon *d = calloc(1, sizeof(*d));
    check_or_trap(d);
    signal(SIGIO, SIG_IGN);
    d->core.stats.fd_limit = 1000;
    check_or_trap(core_init(&d->core, &settings, event_base_new(), &nothing) == 0);
    check_or_trap(request_handler_new(&d->core.control, &d->handler) == 0);
    return d;
}

static inline void daemon_turn(struct daemon *d)
{
    event_base_loop(d->core.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

/* What must hold whatever a peer has done. */
static inline void daemon_check(struct daemon *d)
{
    check_or_trap(stats_is_valid(&d->core.stats));
    check_or_trap(pool_is_valid(&d->core.pool));
    check_or_trap(scrub_is_valid(&d->core.scrub));
    list_for_each(it, &d->core.leases.clients)
    {
        check_or_trap(client_is_valid(list_entry(it, struct client, link)));
    }
}

static inline void daemon_on_quiet(struct client *client)
{
    struct request_peer *peer = client->on_quiet_data;
    struct daemon *d = list_entry(client->on_leave_data, struct daemon, core.leases);
    peer->client = NULL;
    lease_end(&d->core.leases, client);
}

/* As peer.c does when a connection ends. */
static inline void daemon_end_peer(struct daemon *d, struct request_peer *peer)
{
    if (!peer->client)
        return;
    peer->client->on_quiet_data = peer;
    client_end(peer->client, daemon_on_quiet);
    for (int turns = 0; peer->client && turns < 100000; turns++) {
        daemon_turn(d);
        usleep(10);
    }
    check_or_trap(!peer->client);
}

/* The peers have ended. Everything that was made must be gone when the daemon is. */
static inline void daemon_free(struct daemon *d)
{
    daemon_check(d);
    check_or_trap(list_is_empty(&d->core.leases.clients));
    core_close(&d->core);
    core_deinit(&d->core);
    request_handler_free(d->handler);
    check_or_trap(d->core.stats.created_bytes_total == d->core.stats.discarded_bytes_total);
    check_or_trap(d->core.stats.n_extents == 0);
    event_base_free(d->core.base);
    free(d);
}

/* For the next input. */
static inline struct daemon *daemon_begin(void)
{
    static struct daemon *d;
    static const uid_t uids[] = {0, 1000, 2000, 1001};
    struct control_reply *memory;
    Hakmem__Reply reply;
    if (d && d->n_inputs == DAEMON_INPUTS) {
        daemon_free(d);
        d = NULL;
    }
    if (!d)
        d = daemon_new();
    d->n_inputs++;
    memory = &d->handler->reply_memory;
    control_drain(&d->core.control, true, memory, &reply);
    for (size_t i = 0; i <= sizeof(uids) / sizeof(uids[0]); i++) {
        const uid_t *uid = i > 0 ? &uids[i - 1] : NULL;
        check_or_trap(quota_set(&d->core.quota, "bytes_per_user", 64 * MIB, uid) == 0);
        check_or_trap(quota_set(&d->core.quota, "bytes_per_client", 32 * MIB, uid) == 0);
        check_or_trap(quota_set(&d->core.quota, "clients_per_user", 3, uid) == 0);
    }
    return d;
}

/* The input's peers have ended. */
static inline void daemon_finish(struct daemon *d)
{
    check_or_trap(list_is_empty(&d->core.leases.clients));
    daemon_check(d);
}

#endif
