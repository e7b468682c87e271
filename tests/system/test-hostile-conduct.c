/*
 * Clients that send well-formed packets and mean harm, or are just broken: they keep what they gave
 * back, scribble over their ledger, never read, stop, flood, and die at any moment.
 *
 * SOAK: how many clients are killed at a random point.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-attack.h"

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

#define SOAK_DEFAULT 300
#define N_SILENT     20

/* Given back and written to all the same: nobody else may have it meanwhile. */
static void test_return_while_mapped(void **state)
{
    (void)state;
    Hakmem__StatsReply stats;
    struct client liar;
    struct lease held[8];
    uint32_t n_accepted;

    for (int i = 0; i < 8; i++) {
        client_begin(&liar, &attack_daemon, &held[i]);
        lease_close(&held[i]);
        require_equal(client_return(&liar, &held[i].id, 1, &n_accepted), NONE);
        client_close(&liar);
    }
    stats_until(&attack_daemon, &stats, stats.orphan_bytes == 8 * SUPERSLAB_BYTES);
    /* The witness checks that what it is leased stays as it wrote it, while we write. */
    uint64_t until = harness_now_ns() + 300 * 1000000ull;
    for (unsigned char value = 0; !harness_is_late(until); value++) {
        for (int i = 0; i < 8; i++)
            lease_fill(&held[i], value);
    }
    stats_get(&attack_daemon, &stats);
    require_equal(stats.orphan_bytes, 8 * SUPERSLAB_BYTES);
    for (int i = 0; i < 8; i++)
        lease_unmap(&held[i]);
    attack_require_unharmed();
}

/* ---- the ledger ---- */

/* Random words everywhere in the ledger, for as long as the daemon works with it. */
static void test_ledger_scribbler(void **state)
{
    (void)state;
    pid_t children[3];
    for (unsigned i = 0; i < 3; i++) {
        children[i] = attack_fork();
        if (children[i] != 0)
            continue;
        struct client client;
        struct lease leases[CONN_MAX_FDS];
        unsigned seed = i + 1, n_refused = 0;
        size_t n;
        attack_hello(&client);
        uint32_t *words = (uint32_t *)client.ledger;
        size_t n_words = ledger_bytes(client.n_slots) / sizeof(uint32_t);
        uint32_t n_slots = client.n_slots;
        uint64_t until = harness_now_ns() + 1200 * 1000000ull;
        while (!harness_is_late(until)) {
            /* What it scribbled over may not be given back: then only leaving helps. */
            if (client_lease(&client, 4, 1u << (i % 2), leases, &n) != NONE) {
                n = 0;
                n_refused++;
            }
            if (n_refused > 3) {
                client.n_slots = n_slots;
                client_close(&client);
                attack_hello(&client);
                words = (uint32_t *)client.ledger;
                n_refused = 0;
            }
            for (int round = 0; round < 2000; round++) {
                uint32_t value = (uint32_t)rand_r(&seed) ^ (uint32_t)rand_r(&seed) << 16;
                /* Often a state that exists, in a slot that is used. */
                if (round % 2)
                    client.ledger->slots[(size_t)rand_r(&seed) % 16] = value % 6;
                else
                    words[(size_t)rand_r(&seed) % n_words] = value;
            }
            for (size_t j = 0; j < n; j++) {
                uint32_t n_accepted;
                close(leases[j].fd);
                (void)client_return(&client, &leases[j].id, 1, &n_accepted);
            }
        }
        _exit(0);
    }
    for (int i = 0; i < 3; i++)
        harness_join(children[i]);
    attack_require_unharmed();
}

/* ---- stalling and flooding ---- */

/* Sends the request until the daemon takes no more of it. */
static int send_all_it_takes(struct client *client, Hakmem__Request *request)
{
    int n_sent = 0;
    int r;
    while ((r = client_send(client, request)) == 0)
        n_sent++;
    require_equal(-r, EAGAIN);
    return n_sent;
}

/* Asks for memory and never takes it: one packet of descriptors is on its way to each, and no more.
 */
static void test_never_reads_leases(void **state)
{
    (void)state;
    Hakmem__StatsReply stats;
    struct client clients[N_SILENT];
    stats_get(&attack_daemon, &stats);
    uint64_t n_leases = stats.leases_total;
    for (int i = 0; i < N_SILENT; i++) {
        Hakmem__Lease lease = HAKMEM__LEASE__INIT;
        Hakmem__Request request = HAKMEM__REQUEST__INIT;
        attack_hello(&clients[i]);
        lease.n_slabs = 1;
        lease.run_slabs = 1;
        request.body_case = HAKMEM__REQUEST__BODY_LEASE;
        request.lease = &lease;
        require(send_all_it_takes(&clients[i], &request) > 100);
    }
    stats_get(&attack_daemon, &stats);
    /* A few are the witness's: one in hand, others given back that a worker is still busy with. */
    if (stats.leased_bytes > (N_SILENT + 4) * SUPERSLAB_BYTES)
        stats_print(&stats);
    require(stats.leased_bytes <= (N_SILENT + 4) * SUPERSLAB_BYTES);
    require(stats.leases_total > n_leases);
    for (int i = 0; i < N_SILENT; i++)
        client_close(&clients[i]);
    attack_require_unharmed();
}

/* Asks for figures and never reads them: let go when its queue has been full for too long. */
static void test_never_reads_answers(void **state)
{
    (void)state;
    struct client clients[N_SILENT];
    struct pollfd sockets[N_SILENT];
    uint64_t before = attack_protocol_errors(), deadline = harness_deadline();
    int n_left = N_SILENT;

    for (int i = 0; i < N_SILENT; i++) {
        attack_hello(&clients[i]);
        sockets[i] = (struct pollfd){.fd = clients[i].socket, .events = POLLOUT};
    }
    /* More whenever there is room, until the daemon has had enough. */
    while (n_left > 0) {
        require(!harness_is_late(deadline));
        require(poll(sockets, N_SILENT, HARNESS_PATIENCE_MS) > 0);
        for (int i = 0; i < N_SILENT; i++) {
            Hakmem__ClientsQuery query = HAKMEM__CLIENTS_QUERY__INIT;
            Hakmem__Request request = HAKMEM__REQUEST__INIT;
            request.body_case = HAKMEM__REQUEST__BODY_CLIENTS;
            request.clients = &query;
            if (sockets[i].revents & POLLHUP) {
                sockets[i].fd = -1;
                n_left--;
            } else if (sockets[i].revents & POLLOUT) {
                (void)client_send(&clients[i], &request);
            }
        }
    }
    for (int i = 0; i < N_SILENT; i++)
        client_close(&clients[i]);
    require(attack_protocol_errors() >= before + N_SILENT);
    attack_require_unharmed();
}

/* Stopped between two steps of the protocol, for as long as it pleases. */
static void test_stopped_in_mid_protocol(void **state)
{
    (void)state;
    pid_t children[6];
    for (int i = 0; i < 6; i++) {
        children[i] = attack_fork();
        if (children[i] != 0)
            continue;
        struct client client;
        struct lease leases[CONN_MAX_FDS];
        Hakmem__Lease lease = HAKMEM__LEASE__INIT;
        Hakmem__Request request = HAKMEM__REQUEST__INIT;
        size_t n;
        client_connect(&client, &attack_daemon);
        if (i == 0)
            raise(SIGSTOP);
        require_equal(client_hello(&client, 2, leases, &n), NONE);
        if (i == 1)
            raise(SIGSTOP);
        lease.n_slabs = 2;
        lease.run_slabs = 1;
        request.body_case = HAKMEM__REQUEST__BODY_LEASE;
        request.lease = &lease;
        require_equal(client_send(&client, &request), 0);
        if (i == 2)
            raise(SIGSTOP);
        for (size_t j = 0; j < n; j++) {
            lease_map(&client, &leases[j]);
            (void)lease_change(&client, &leases[j], 0, SLAB_IDLE);
        }
        raise(SIGSTOP);
        _exit(0);
    }
    /* The witness goes on meanwhile; that is all there is to wait for. */
    attack_wait_witnessed(30);
    for (int i = 0; i < 6; i++) {
        attack_kill(children[i]);
    }
    attack_require_unharmed();
}

/* In a child: floods until killed. */
static pid_t flood(int kind)
{
    pid_t child = attack_fork();
    if (child != 0)
        return child;
    for (;;) {
        Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
        Hakmem__Lease lease = HAKMEM__LEASE__INIT;
        Hakmem__Request request = HAKMEM__REQUEST__INIT;
        struct client client = {.socket = -1};
        if (conn_connect(attack_daemon.socket_path, &client.socket) < 0)
            continue;
        if (kind == 0) { /* connections */
            close(client.socket);
            continue;
        }
        lease.n_slabs = 256;
        lease.run_slabs = 1;
        request.body_case = kind == 1 ? HAKMEM__REQUEST__BODY_STATS : HAKMEM__REQUEST__BODY_LEASE;
        if (kind == 1)
            request.stats = &query;
        else
            request.lease = &lease;
        if (kind == 2) {
            struct lease none[CONN_MAX_FDS];
            size_t n;
            if (client_hello(&client, 16, none, &n) != NONE) {
                close(client.socket);
                continue;
            }
            for (size_t i = 0; i < n; i++)
                close(none[i].fd);
        }
        for (int i = 0; i < 400; i++) {
            int fds[CONN_MAX_FDS];
            size_t n_fds = 0;
            if (client_send(&client, &request) < 0)
                break;
            if (i % 8 == 7 && !client_receive(&client, fds, &n_fds))
                break;
            conn_close_fds(fds, n_fds);
        }
        client_close(&client);
    }
}

static void test_floods(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        pid_t children[2] = {flood(kind), flood(kind)};
        attack_wait_witnessed(60);
        for (int i = 0; i < 2; i++) {
            attack_kill(children[i]);
        }
    }
    attack_require_unharmed();
}

/* ---- sudden death ---- */

/* In a child: everything a client does, as fast as it can, until killed. */
static void live_fast(unsigned seed)
{
    for (;;) {
        struct client client;
        struct lease leases[CONN_MAX_FDS];
        uint32_t n_accepted;
        size_t n;
        client_connect(&client, &attack_daemon);
        require_equal(client_hello(&client, (uint32_t)rand_r(&seed) % 5, leases, &n), NONE);
        for (int round = rand_r(&seed) % 4; round >= 0; round--) {
            for (size_t i = 0; i < n; i++) {
                lease_map(&client, &leases[i]);
                leases[i].memory[0] = 1;
                if (rand_r(&seed) % 2)
                    (void)lease_change(&client, &leases[i], 0, SLAB_IDLE);
                if (rand_r(&seed) % 4 == 0) {
                    lease_drop(&client, &leases[i]);
                    (void)client_return(&client, &leases[i].id, 1, &n_accepted);
                }
            }
            if (client_lease(&client, 1 + (uint32_t)rand_r(&seed) % 4, 1, leases, &n) != NONE)
                break;
        }
        client_close(&client);
        for (size_t i = 0; i < n; i++) {
            lease_unmap(&leases[i]);
            lease_close(&leases[i]);
        }
    }
}

static void test_killed_at_random(void **state)
{
    (void)state;
    const char *soak = getenv("SOAK");
    unsigned n_victims = soak ? (unsigned)atoi(soak) : SOAK_DEFAULT;
    unsigned seed = 5;
    for (unsigned i = 0; i < n_victims; i++) {
        pid_t child = attack_fork();
        if (child == 0)
            live_fast(i + 1);
        uint64_t until = harness_now_ns() + (uint64_t)rand_r(&seed) % 6000000u;
        while (!harness_is_late(until))
            ;
        attack_kill(child);
        if (i % 50 == 49)
            daemon_require_alive(&attack_daemon);
    }
    attack_require_unharmed();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, attack_setup, attack_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_return_while_mapped),     TEST(test_ledger_scribbler),
        TEST(test_never_reads_leases),      TEST(test_never_reads_answers),
        TEST(test_stopped_in_mid_protocol), TEST(test_floods),
        TEST(test_killed_at_random),
    };
    return cmocka_run_group_tests_name("hostile-conduct", tests, attack_group_setup,
                                       attack_group_teardown);
}
