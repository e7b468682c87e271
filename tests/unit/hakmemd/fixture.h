/*
 * The memory side of the daemon for tests of its modules: everything from workers to leases, on an
 * event loop that the test turns itself.
 */
#ifndef HAKMEM_TESTS_UNIT_HAKMEMD_FIXTURE_H
#define HAKMEM_TESTS_UNIT_HAKMEMD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hakmemd/clock.h"
#include "hakmemd/core.h"
#include "hakmemd/memfd.h"

#define FIXTURE_PATIENCE_MS 20000
#define MIB                 ((uint64_t)1 << 20)

/* What the tests call it. */
#define fixture core

static const struct quota_settings fixture_quota = {.defaults = {.bytes_per_user = 1024 * MIB,
                                                                 .bytes_per_client = 512 * MIB,
                                                                 .clients_per_user = 100,
                                                                 .descriptors_per_user = 100,
                                                                 .requests_per_second = 1000,
                                                                 .requests_per_user = 1000}};

/* `topology` is copied; NULL: one node. */
static inline struct fixture *fixture_new_on(const struct topology *topology, uint64_t min_bytes,
                                             uint64_t max_bytes, uint64_t recycled_ms,
                                             uint64_t idle_ms)
{
    struct fixture *f = calloc(1, sizeof(*f));
    static const struct topology one_node = {.n_nodes = 1};
    struct core_settings settings = {.host = host_default,
                                     .topology = topology ? topology : &one_node,
                                     .pool = {.min_bytes = min_bytes,
                                              .max_bytes = max_bytes,
                                              .backing = BACKING_AUTO,
                                              .recycled_ms = recycled_ms},
                                     .idle_ms = idle_ms,
                                     .reuse = REUSE_SAME_USER,
                                     .quota = fixture_quota,
                                     .pressure = {.some_us = 1000, .quiet_ms = 1000}};
    struct store_passed nothing = {0};
    assert_non_null(f);
    signal(SIGIO, SIG_IGN);
    f->stats.fd_limit = 1000;
    assert_int_equal(core_init(f, &settings, event_base_new(), &nothing), 0);
    return f;
}

static inline struct fixture *fixture_new(uint64_t min_bytes, uint64_t max_bytes,
                                          uint64_t recycled_ms, uint64_t idle_ms)
{
    return fixture_new_on(NULL, min_bytes, max_bytes, recycled_ms, idle_ms);
}

/* Clients must have ended. Everything that was created must have been discarded. */
static inline void fixture_free(struct fixture *f)
{
    core_close(f);
    core_deinit(f);
    assert_true(stats_is_valid(&f->stats));
    assert_int_equal(f->stats.created_bytes_total, f->stats.discarded_bytes_total);
    assert_int_equal(f->stats.n_extents, 0);
    assert_int_equal(f->stats.n_ahead_fds, 0);
    event_base_free(f->base);
    free(f);
}

/* Turns the loop until `condition` holds; fails the test when patience runs out. */
#define fixture_wait(f, condition)                                                                 \
    do {                                                                                           \
        uint64_t until_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;                                  \
        while (!(condition)) {                                                                     \
            event_base_loop((f)->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);                             \
            usleep(200);                                                                           \
            if (clock_now_ms() > until_ms)                                                         \
                fail_msg("waited too long for " #condition);                                       \
        }                                                                                          \
        assert_true(pool_is_valid(&(f)->pool));                                                    \
        assert_true(scrub_is_valid(&(f)->scrub));                                                  \
        assert_true(stats_is_valid(&(f)->stats));                                                  \
    } while (0)

/* As a trim: hands all that is IDLE to the puncher. Bytes. */
static inline uint64_t fixture_reclaim_all(struct fixture *f)
{
    assert_true(reclaim_has_looked(&f->reclaim, reclaim_look(&f->reclaim, true)));
    return f->reclaim.figures.handed_over_bytes;
}

/* A client with its ledger as the program itself sees it: mapped a second time. */
struct fixture_client {
    struct client *client;
    struct ledger *ledger;
    size_t ledger_bytes;
};

static inline struct fixture_client fixture_client_new(struct fixture *f, uid_t uid)
{
    struct fixture_client c;
    assert_int_equal(
        client_new(&f->quota, &f->ledgers, &f->cgroups, getpid(), uid, 0, 1, &c.client), 0);
    c.ledger_bytes = ledger_bytes(c.client->n_slots);
    c.ledger =
        mmap(NULL, c.ledger_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c.client->mapping->fd, 0);
    assert_ptr_not_equal(c.ledger, MAP_FAILED);
    lease_add_client(&f->leases, c.client);
    return c;
}

static inline void fixture_on_quiet(struct client *client)
{
    struct fixture *f = client->on_quiet_data;
    lease_end(&f->leases, client);
}

static inline void fixture_client_end(struct fixture *f, struct fixture_client *c)
{
    uint64_t n = f->leases.n_clients;
    munmap(c->ledger, c->ledger_bytes);
    c->client->on_quiet_data = f;
    client_end(c->client, fixture_on_quiet);
    fixture_wait(f, f->leases.n_clients == n - 1);
}

#endif
