/*
 * Leasing, seen from the socket: what arrives is the right size, zero, sealed, and comes back into
 * the stock; every byte is accounted for all the while.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

static int setup(void **state)
{
    struct daemon *daemon = malloc(sizeof(*daemon));
    daemon_init(daemon);
    daemon_configure(daemon, "pool.min=8M", "pool.max=128M", NULL);
    daemon_start(daemon);
    *state = daemon;
    return 0;
}

static int teardown(void **state)
{
    daemon_deinit(*state);
    free(*state);
    return 0;
}

static void give_back_all(struct client *client, struct lease *leases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lease_give_back(client, &leases[i]);
}

static void test_hello_and_stock(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    size_t n;

    stats_until(daemon, &stats, stats.stock_bytes >= 8 * MIB);
    client_connect(&client, daemon);
    require_equal(client_hello(&client, 4, leases, &n), NONE);
    require(n >= 1);
    uint64_t n_bytes = 0;
    for (size_t i = 0; i < n; i++) {
        lease_map(&client, &leases[i]);
        n_bytes += leases[i].n_slabs * SUPERSLAB_BYTES;
    }
    require(n_bytes >= 2 * MIB && n_bytes <= 8 * MIB);
    stats_get(daemon, &stats);
    require_equal(stats.clients, 1);
    require_equal(stats.leased_bytes, n_bytes);
    require_equal(stats.active_bytes, n_bytes);
    require_equal(stats.leases_total, n);
    give_back_all(&client, leases, n);
    stats_until(daemon, &stats, stats.leased_bytes == 0 && stats.scrubbing_bytes == 0);
    require_equal(stats.returned_bytes_total, n_bytes);
    require_equal(stats.orphan_bytes, 0);
    client_close(&client);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* A peer that wants no memory with its Hello gets a ledger and nothing else. */
static void test_hello_alone(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    require_equal(n, 0);
    require(client.n_slots > 0);
    client_close(&client);
}

/* Every size of extent: the file's size, its seals, its mode, its contents, its slots. */
static void test_all_sizes(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease leases[CONN_MAX_FDS], held[EXTENT_MAX_ORDER + 1];
    size_t n;

    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    for (unsigned order = 0; order <= EXTENT_MAX_ORDER; order++) {
        uint32_t n_slabs = 1u << order;
        struct stat status;
        require_equal(client_lease(&client, n_slabs, n_slabs, leases, &n), NONE);
        require_equal(n, 1);
        struct lease *lease = &held[order];
        *lease = leases[0];
        require_equal(lease->n_slabs, n_slabs);
        require(lease->first_slot + n_slabs <= client.n_slots);
        require(fstat(lease->fd, &status) == 0);
        require_equal(status.st_size, n_slabs * SUPERSLAB_BYTES);
        require_equal(status.st_mode & 07777, 0600);
        int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
        require_equal(fcntl(lease->fd, F_GET_SEALS) & wanted, wanted);
        require_equal(fcntl(lease->fd, F_GETFL) & O_ACCMODE, O_RDWR);
        require(ftruncate(lease->fd, 0) < 0 && errno == EPERM);
        for (uint32_t slab = 0; slab < n_slabs; slab++)
            require_equal(lease_state(&client, lease, slab), SLAB_EMPTY);
        lease_map(&client, lease);
        require(lease_is(lease, 0));
        lease_fill(lease, 0x5a);
    }
    /* No two share a slot, an id or a byte. */
    for (unsigned a = 0; a <= EXTENT_MAX_ORDER; a++) {
        held[a].memory[0] = (unsigned char)a;
        for (unsigned b = 0; b < a; b++) {
            require(held[a].id != held[b].id);
            require(held[a].first_slot >= held[b].first_slot + held[b].n_slabs ||
                    held[b].first_slot >= held[a].first_slot + held[a].n_slabs);
            require_equal(held[b].memory[0], b);
        }
    }
    give_back_all(&client, held, EXTENT_MAX_ORDER + 1);
    client_close(&client);
}

/* Each grant has what was asked, or less, in extents no shorter than asked; what comes again is
 * zero again. */
static void test_mixed_rounds(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    unsigned seed = 7;
    size_t n;

    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    for (int round = 0; round < 60; round++) {
        uint32_t run = 1u << (rand_r(&seed) % (EXTENT_MAX_ORDER + 1));
        uint32_t wanted = run + (uint32_t)rand_r(&seed) % 16;
        require_equal(client_lease(&client, wanted, run, leases, &n), NONE);
        uint32_t granted = 0;
        for (size_t i = 0; i < n; i++) {
            require(leases[i].n_slabs >= run);
            granted += leases[i].n_slabs;
            lease_map(&client, &leases[i]);
            require(lease_is(&leases[i], 0));
            for (size_t at = 0; at < leases[i].n_slabs * SUPERSLAB_BYTES; at += 4096)
                leases[i].memory[at + (size_t)round] = 0xff;
        }
        require(granted >= run && granted <= wanted);
        stats_get(daemon, &stats);
        require_equal(stats.leased_bytes, granted * SUPERSLAB_BYTES);
        give_back_all(&client, leases, n);
    }
    stats_until(daemon, &stats, stats.leased_bytes == 0 && stats.scrubbing_bytes == 0);
    require_equal(stats.orphan_bytes, 0);
    /* The same user had the same memory more than once, cleared in between. */
    require(stats.reused_bytes_total > 0);
    require(stats.scrubbed_bytes_total >= stats.reused_bytes_total);
    client_close(&client);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* reclaim.reuse=never: what comes back is discarded, and the stock is made anew. */
static void test_never_reused(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease lease;

    daemon_kill(daemon);
    daemon_configure(daemon, "pool.min=4M", "pool.max=32M", "reclaim.reuse=never", NULL);
    daemon_start(daemon);
    for (int round = 0; round < 10; round++) {
        client_begin(&client, daemon, &lease);
        lease_fill(&lease, 0xee);
        lease_give_back(&client, &lease);
        client_close(&client);
    }
    stats_until(daemon, &stats, stats_are_quiet(&stats) && stats.stock_bytes >= 4 * MIB);
    require(stats.discarded_bytes_total >= 10 * SUPERSLAB_BYTES);
    require_equal(stats.reused_bytes_total, 0);
}

/* A client that just ends, holding everything: all of it comes back. */
static void test_exit_gives_back(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    for (int round = 0; round < 5; round++) {
        pid_t child = harness_fork();
        if (child == 0) {
            struct client client;
            struct lease leases[CONN_MAX_FDS];
            size_t n;
            client_connect(&client, daemon);
            require_equal(client_hello(&client, 16, leases, &n), NONE);
            for (size_t i = 0; i < n; i++)
                lease_map(&client, &leases[i]);
            require_equal(client_lease(&client, 16, 4, leases, &n), NONE);
            raise(SIGKILL);
        }
        require_equal(harness_wait(child), SIGKILL);
        stats_until(daemon, &stats, stats_are_quiet(&stats));
    }
    require(stats.leases_total >= 10);
    /* Stopping accounts for everything, too. */
    daemon_signal(daemon, SIGTERM);
    require_equal(daemon_wait_exit(daemon), 0);
}

/* What a Lease may ask for, and what it may not. */
static void test_limits_of_a_lease(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    const struct {
        uint32_t n_slabs, run_slabs;
    } wrong[] = {{0, 1}, {1, 0}, {257, 1}, {4, 3}, {32, 32}, {UINT32_MAX, 1}, {1, UINT32_MAX}};

    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        require_equal(client_lease(&client, wrong[i].n_slabs, wrong[i].run_slabs, leases, &n),
                      HAKMEM__ERROR_CODE__ERROR_INVALID);
    /* And it still is a client. */
    require_equal(client_lease(&client, 1, 1, leases, &n), NONE);
    lease_map(&client, &leases[0]);
    lease_give_back(&client, &leases[0]);
    /* 256 SuperSlabs in extents of 16 are 16 descriptors: the most that one packet carries. */
    require_equal(client_lease(&client, 256, 16, leases, &n), NONE);
    require(n >= 1 && n <= CONN_MAX_FDS);
    for (size_t i = 0; i < n; i++) {
        lease_map(&client, &leases[i]);
        lease_give_back(&client, &leases[i]);
    }
    client_close(&client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_and_stock),   TEST(test_hello_alone),  TEST(test_all_sizes),
        TEST(test_mixed_rounds),      TEST(test_never_reused), TEST(test_exit_gives_back),
        TEST(test_limits_of_a_lease),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
