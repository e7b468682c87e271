/*
 * A restart that loses nothing: a service manager keeps descriptors for the daemon, the next one
 * takes them over, and clients come back to their ledgers; nobody else does.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"
#include "harness-manager.h"

#define NONE  HAKMEM__ERROR_CODE__ERROR_NONE
#define QUOTA HAKMEM__ERROR_CODE__ERROR_QUOTA

static struct daemon daemon_;
static struct manager manager;
static Hakmem__StatsReply stats;

static int setup(void **state)
{
    (void)state;
    daemon_init(&daemon_);
    daemon_configure(&daemon_, "pool.min=8M", "pool.max=64M", "reclaim.idle_ms=20",
                     "restart.store_after_ms=0", NULL);
    manager_init(&manager, &daemon_, 1000, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    manager_deinit(&manager);
    daemon_deinit(&daemon_);
    return 0;
}

/* A client with one extent of four SuperSlabs, full of `value`. */
static void begin_four(struct client *client, struct lease *lease, unsigned char value)
{
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    client_connect(client, &daemon_);
    require_equal(client_hello(client, 0, leases, &n), NONE);
    require(client->id != 0);
    require_equal(client_lease(client, 4, 4, leases, &n), NONE);
    *lease = leases[0];
    lease_map(client, lease);
    lease_fill(lease, value);
}

static bool come_back(struct client *client)
{
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    require_equal(client_come_back(client, &daemon_, 0, leases, &n), NONE);
    return client->is_reattached;
}

static void trim(void)
{
    struct client client;
    uint64_t n_bytes;
    client_connect(&client, &daemon_);
    require_equal(client_trim(&client, &n_bytes), NONE);
    client_close(&client);
}

/* Table, ledger, extent. */
#define STORED_WITH_ONE 3

static void test_leases_go_on(void **state)
{
    (void)state;
    const int signals[] = {SIGKILL, SIGTERM, SIGKILL};
    struct client client;
    struct lease lease, more[CONN_MAX_FDS];
    size_t n;

    manager_start(&manager);
    begin_four(&client, &lease, 0x41);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    for (size_t round = 0; round < 3; round++) {
        manager_restart(&manager, signals[round]);
        manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
        stats_get(&daemon_, &stats);
        require_equal(stats.clients, 1);
        require_equal(stats.detached_clients, 1);
        require_equal(stats.leased_bytes, 4 * SUPERSLAB_BYTES);
        require_equal(stats.active_bytes, 4 * SUPERSLAB_BYTES);
        require_equal(stats.adopted_bytes, 4 * SUPERSLAB_BYTES);
        require(come_back(&client));
        stats_get(&daemon_, &stats);
        require_equal(stats.clients, 1);
        require_equal(stats.detached_clients, 0);
        require_equal(stats.held_bytes, 0);
        require(lease_is(&lease, 0x41));

        /* Reclaim goes on, and what is not idle is left alone. */
        require(lease_change(&client, &lease, 1, SLAB_IDLE));
        manager_until(&manager, lease_state(&client, &lease, 1) == SLAB_RECLAIMED);
        require(lease_slab_is(&lease, 1, 0));
        require(lease_slab_is(&lease, 0, 0x41) && lease_slab_is(&lease, 2, 0x41));
        require(lease_change(&client, &lease, 1, SLAB_ACTIVE));
        lease_fill(&lease, 0x41);

        /* New leases have ids and slots of their own, and can be returned. */
        require_equal(client_lease(&client, 4, 4, more, &n), NONE);
        require(more[0].id != lease.id && more[0].first_slot != lease.first_slot);
        lease_map(&client, &more[0]);
        lease_give_back(&client, &more[0]);
        manager_until(&manager, manager.n_stored == STORED_WITH_ONE ||
                                    manager.n_stored == STORED_WITH_ONE + 1);
    }
    /* The old one as well; and in the end the manager has the table alone. */
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
    trim();
    manager_until(&manager, manager.n_stored == 1);
    stats_get(&daemon_, &stats);
    require_equal(stats.stored_descriptors, 0);
    require_equal(stats.store_errors_total, 0);
}

/* Detached, a client is charged and reclaimed from as if it were there. */
static void test_detached_clients_count(void **state)
{
    (void)state;
    struct client client, other;
    struct lease lease, leases[CONN_MAX_FDS];
    size_t n;

    daemon_write_config(&daemon_, "[quota]\nbytes_per_user = 12M\n");
    manager_start(&manager);
    begin_four(&client, &lease, 0x42);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    require(lease_change(&client, &lease, 3, SLAB_IDLE));
    manager_restart(&manager, SIGKILL);
    manager_until(&manager, lease_state(&client, &lease, 3) == SLAB_RECLAIMED);
    require(lease_slab_is(&lease, 2, 0x42) && lease_slab_is(&lease, 3, 0));
    /* Eight MiB are the detached client's. Another process asks: the same one would begin anew. */
    pid_t child = harness_fork();
    if (child == 0) {
        client_connect(&other, &daemon_);
        require_equal(client_hello(&other, 0, leases, &n), NONE);
        require_equal(client_lease(&other, 4, 4, leases, &n), QUOTA);
        require(strcmp(other.error_limit, "quota.bytes_per_user") == 0);
        require_equal(client_lease(&other, 2, 2, leases, &n), NONE);
        _exit(0);
    }
    harness_join(child);
    require(come_back(&client));
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
}

/* SIGKILL at a moment when words say RECLAIMING: the next daemon calls it off. */
static void test_punch_of_a_dead_daemon(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;

    manager_start(&manager);
    begin_four(&client, &lease, 0x43);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    (void)manager_end(&manager, SIGKILL);
    client.ledger->slots[lease.first_slot] = 0x700 | SLAB_RECLAIMING;
    manager_start(&manager);
    manager_until(&manager, lease_state(&client, &lease, 0) == SLAB_RECLAIMED);
    require(lease_slab_is(&lease, 0, 0) && lease_slab_is(&lease, 1, 0x43));
    require(come_back(&client));
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
}

/* What was returned with nobody there to hear it, or granted and never received, comes to light. */
static void test_returned_meanwhile(void **state)
{
    (void)state;
    struct client client;
    struct lease lease, leases[CONN_MAX_FDS];
    size_t n;

    manager_start(&manager);
    begin_four(&client, &lease, 0x44);
    /* Granted, and thrown away unread. */
    require_equal(client_lease(&client, 2, 2, leases, &n), NONE);
    lease_close(&leases[0]);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE + 1);
    (void)manager_end(&manager, SIGKILL);
    lease_drop(&client, &lease);
    manager_start(&manager);
    stats_get(&daemon_, &stats);
    require_equal(stats.leased_bytes, 6 * SUPERSLAB_BYTES);
    require(come_back(&client));
    stats_until(&daemon_, &stats, stats.leased_bytes + stats.orphan_bytes == 0);
    client_close(&client);
}

/* Only the process that had it, by the token that it was given, and once. */
static void test_nobody_else(void **state)
{
    (void)state;
    struct client client, thief;
    struct lease lease;

    manager_start(&manager);
    begin_four(&client, &lease, 0x45);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    manager_restart(&manager, SIGKILL);
    pid_t child = harness_fork();
    if (child == 0) { /* it knows all that its parent knows */
        client.socket = -1;
        _exit(come_back(&client) ? 1 : 0);
    }
    harness_join(child);
    thief = (struct client){.socket = -1, .id = client.id};
    memcpy(thief.token, client.token, sizeof(thief.token));
    thief.token[15] ^= 1;
    require(!come_back(&thief));
    client_close(&thief);
    thief = (struct client){.socket = -1, .id = client.id + 1000};
    memcpy(thief.token, client.token, sizeof(thief.token));
    require(!come_back(&thief));
    client_close(&thief);
    /* The right one, and then it is taken. */
    thief = (struct client){.socket = -1, .id = client.id};
    memcpy(thief.token, client.token, sizeof(thief.token));
    require(come_back(&client));
    require(!come_back(&thief));
    client_close(&thief);
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
}

static void test_no_other_user(void **state)
{
    (void)state;
    harness_need_root();
    struct client client;
    struct lease lease;
    int to_parent[2], to_child[2];
    char byte;

    daemon_write_config(&daemon_, "[socket]\nmode = 0666\n");
    manager_start(&manager);
    require(pipe(to_parent) == 0 && pipe(to_child) == 0);
    pid_t child = harness_fork();
    if (child == 0) {
        begin_four(&client, &lease, 0x46);
        require(write(to_parent[1], "x", 1) == 1);
        require(read(to_child[0], &byte, 1) == 1);
        /* The same process, the right token, and another user by now. */
        harness_become(65534);
        _exit(come_back(&client) ? 1 : 0);
    }
    require(read(to_parent[0], &byte, 1) == 1);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    manager_restart(&manager, SIGKILL);
    require(write(to_child[1], "x", 1) == 1);
    harness_join(child);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
}

/* Whoever does not come back in time leaves orphans, which are free when nobody holds them. */
static void test_not_back_in_time(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;

    daemon_write_config(&daemon_, "[restart]\nreattach_ms = 200\n");
    manager_start(&manager);
    begin_four(&client, &lease, 0x47);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    manager_restart(&manager, SIGKILL);
    stats_until(&daemon_, &stats, stats.clients == 0);
    require_equal(stats.orphan_bytes, 4 * SUPERSLAB_BYTES);
    require(!come_back(&client)); /* too late: a new ledger */
    /* An orphan survives restarts, too, and is never punched. */
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    manager_restart(&manager, SIGKILL);
    stats_until(&daemon_, &stats, stats.orphan_bytes == 4 * SUPERSLAB_BYTES);
    require(lease_is(&lease, 0x47));
    lease_unmap(&lease);
    lease_close(&lease);
    client_close(&client);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
}

/* The end of its process is the end of a detached client, however long it might be waited for. */
static void test_process_ends_meanwhile(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;
    int to_parent[2];
    char byte;

    manager_start(&manager);
    require(pipe(to_parent) == 0);
    for (int round = 0; round < 2; round++) {
        pid_t child = harness_fork();
        if (child == 0) {
            begin_four(&client, &lease, 0x48);
            require(write(to_parent[1], "x", 1) == 1);
            for (;;)
                pause();
        }
        require(read(to_parent[0], &byte, 1) == 1);
        manager_until(&manager, manager.n_stored >= STORED_WITH_ONE);
        if (round == 0) { /* while there is no daemon */
            (void)manager_end(&manager, SIGKILL);
            kill(child, SIGKILL);
            (void)harness_wait(child);
            manager_start(&manager);
        } else { /* while it is waited for */
            manager_restart(&manager, SIGKILL);
            stats_get(&daemon_, &stats);
            require_equal(stats.detached_clients, 1);
            kill(child, SIGKILL);
            (void)harness_wait(child);
        }
        stats_until(&daemon_, &stats, stats_are_quiet(&stats));
    }
}

/* A lease younger than restart.store_after_ms: lost by a SIGKILL, kept by a SIGTERM. */
static void test_young_leases(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;

    daemon_configure(&daemon_, "pool.min=8M", "pool.max=64M", "restart.store_after_ms=3600000",
                     NULL);
    manager_start(&manager);
    begin_four(&client, &lease, 0x49);
    manager_restart(&manager, SIGTERM);
    require_equal(manager.n_stored, STORED_WITH_ONE);
    require(come_back(&client));
    lease_give_back(&client, &lease);
    client_close(&client);

    begin_four(&client, &lease, 0x4a);
    manager_restart(&manager, SIGKILL);
    client.held_bytes = 4 * SUPERSLAB_BYTES;
    require(!come_back(&client));
    stats_get(&daemon_, &stats);
    require_equal(stats.held_bytes, 4 * SUPERSLAB_BYTES);
    require_equal(stats.leased_bytes, 0);
    require(lease_is(&lease, 0x4a));
    lease_unmap(&lease);
    lease_close(&lease);
    client_close(&client);
}

/* A manager that has room for less than it said: the ledger goes on, and of the extent that was
 * lost the slots stay the client's until it returns it. */
static void test_lost_extent(void **state)
{
    (void)state;
    struct client client;
    struct lease lease, more[CONN_MAX_FDS];
    size_t n;
    uint32_t n_accepted;

    manager.limit = 2;
    manager_start(&manager);
    begin_four(&client, &lease, 0x4b);
    manager_until(&manager, manager.n_over_limit == 1);
    for (int round = 0; round < 2; round++) {
        manager_restart(&manager, SIGKILL);
        client.held_bytes = 4 * SUPERSLAB_BYTES;
        require(come_back(&client));
        stats_get(&daemon_, &stats);
        require_equal(stats.leased_bytes, 0);
        require_equal(stats.held_bytes, 4 * SUPERSLAB_BYTES);
    }
    require_equal(client_lease(&client, 4, 4, more, &n), NONE);
    require(more[0].first_slot != lease.first_slot);
    lease_map(&client, &more[0]);
    lease_give_back(&client, &more[0]);
    require(lease_is(&lease, 0x4b));
    /* Idle as it may be, nobody punches it. It is returned like any other; its slots are free then.
     */
    uint32_t slot = lease.first_slot;
    lease_give_back(&client, &lease);
    require_equal(client_return(&client, &lease.id, 1, &n_accepted), NONE);
    require_equal(n_accepted, 0);
    require_equal(client_lease(&client, 4, 4, more, &n), NONE);
    require_equal(more[0].first_slot, slot);
    lease_map(&client, &more[0]);
    lease_give_back(&client, &more[0]);
    client_close(&client);
}

/* Whatever is found in the store: what is not ours, or not what the table says, is put away. */
static void test_rubbish_in_the_store(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;

    manager_start(&manager);
    begin_four(&client, &lease, 0x4c);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    (void)manager_end(&manager, SIGKILL);
    for (size_t i = 0; i < 3; i++) { /* another file under the name of each of ours but the table */
        if (strcmp(manager.stored[i].name, "h0") == 0)
            continue;
        close(manager.stored[i].fd);
        manager.stored[i].fd = memfd_create("rubbish", MFD_CLOEXEC);
    }
    int ends[2];
    require(pipe2(ends, O_CLOEXEC) == 0);
    close(ends[1]);
    manager_put(&manager, "h7f", ends[0]);
    manager_put(&manager, "hello", fcntl(ends[0], F_DUPFD_CLOEXEC, 0));
    manager_put(&manager, "h03", fcntl(ends[0], F_DUPFD_CLOEXEC, 0));
    manager_put(&manager, "h4000", fcntl(ends[0], F_DUPFD_CLOEXEC, 0));
    manager_start(&manager);
    require(!come_back(&client));
    require(lease_is(&lease, 0x4c));
    lease_unmap(&lease);
    lease_close(&lease);
    client_close(&client);
    stats_until(&daemon_, &stats, stats_are_quiet(&stats));
    manager_until(&manager, manager.n_stored == 1);
    stats_get(&daemon_, &stats);
    require(stats.store_errors_total > 0);

    /* A table that is none. */
    (void)manager_end(&manager, SIGKILL);
    close(manager.stored[0].fd);
    manager.stored[0].fd = memfd_create("rubbish", MFD_CLOEXEC);
    manager_start(&manager);
    begin_four(&client, &lease, 0x4d);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE);
    manager_restart(&manager, SIGKILL);
    require(come_back(&client));
    lease_give_back(&client, &lease);
    client_close(&client);
}

/* No store is offered: nothing is pushed, nobody gets a token, and a restart orphans as ever. */
static void test_no_store(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;
    manager.limit = manager.n_offered = 0;
    manager_start(&manager);
    client_begin(&client, &daemon_, &lease);
    require_equal(client.id, 0);
    lease_fill(&lease, 0x4e);
    manager_restart(&manager, SIGTERM);
    require_equal(manager.n_pushed, 0);
    require(!come_back(&client));
    require(lease_is(&lease, 0x4e));
    lease_unmap(&lease);
    lease_close(&lease);
    client_close(&client);
}

/* The manager's socket and what it keeps come together; the socket outlives the daemons. */
static void test_with_a_socket(void **state)
{
    (void)state;
    struct client client;
    struct lease lease;
    manager_deinit(&manager);
    manager_init(&manager, &daemon_, 1000, true);
    manager_start(&manager);
    begin_four(&client, &lease, 0x4f);
    for (int round = 0; round < 4; round++) {
        manager_restart(&manager, round % 2 ? SIGKILL : SIGTERM);
        require(come_back(&client));
    }
    require(lease_is(&lease, 0x4f));
    lease_give_back(&client, &lease);
    client_close(&client);
}

/* A manager that reads nothing for a while: the daemon serves on, and pushes later. */
static void test_slow_manager(void **state)
{
    (void)state;
    struct client client;
    struct lease lease, leases[64];
    size_t n = 0;
    manager_start(&manager);
    begin_four(&client, &lease, 0x50);
    while (n < 40) {
        size_t n_more;
        require_equal(client_lease(&client, 1, 1, leases + n, &n_more), NONE);
        n += n_more;
        if (n == 40)
            break;
    }
    for (size_t i = 0; i < n; i++)
        lease_map(&client, &leases[i]);
    stats_get(&daemon_, &stats);
    require(stats.stored_descriptors < STORED_WITH_ONE - 1 + 40);
    manager_until(&manager, manager.n_stored == STORED_WITH_ONE + 40);
    for (size_t i = 0; i < n; i++)
        lease_give_back(&client, &leases[i]);
    stats_until(&daemon_, &stats, stats.leased_bytes == 4 * SUPERSLAB_BYTES);
    manager_restart(&manager, SIGKILL);
    require(come_back(&client));
    lease_give_back(&client, &lease);
    client_close(&client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_leases_go_on),
        TEST(test_detached_clients_count),
        TEST(test_punch_of_a_dead_daemon),
        TEST(test_returned_meanwhile),
        TEST(test_nobody_else),
        TEST(test_no_other_user),
        TEST(test_not_back_in_time),
        TEST(test_process_ends_meanwhile),
        TEST(test_young_leases),
        TEST(test_lost_extent),
        TEST(test_rubbish_in_the_store),
        TEST(test_no_store),
        TEST(test_with_a_socket),
        TEST(test_slow_manager),
    };
    return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
