/*
 * Quotas: each limit is met exactly, refuses with its name, is undone when what it counted is gone,
 * and counts each user alone. A refused client stays a client.
 *
 * Longer than other files: one test for each limit, on the same two users.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE  HAKMEM__ERROR_CODE__ERROR_NONE
#define QUOTA HAKMEM__ERROR_CODE__ERROR_QUOTA

#define USER_A 61011
#define USER_B 61012

static int setup(void **state)
{
    struct daemon *daemon = malloc(sizeof(*daemon));
    daemon_init(daemon);
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "socket.mode=0666", NULL);
    *state = daemon;
    return 0;
}

static int teardown(void **state)
{
    daemon_deinit(*state);
    free(*state);
    return 0;
}

/* Leases single SuperSlabs until refused; how many it got. */
static size_t lease_until_refused(struct client *client, struct lease *held, size_t most)
{
    struct lease leases[CONN_MAX_FDS];
    size_t n, n_held = 0;
    Hakmem__ErrorCode code;
    while ((code = client_lease(client, 1, 1, leases, &n)) == NONE) {
        require(n_held < most);
        require_equal(n, 1);
        lease_map(client, &leases[0]);
        held[n_held++] = leases[0];
    }
    require_equal(code, QUOTA);
    return n_held;
}

static void hello(struct client *client, const struct daemon *daemon)
{
    struct lease none[CONN_MAX_FDS];
    size_t n;
    client_connect(client, daemon);
    require_equal(client_hello(client, 0, none, &n), NONE);
}

static void close_all(struct lease *held, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        lease_unmap(&held[i]);
        lease_close(&held[i]);
    }
}

static void test_bytes_per_client(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client, other;
    struct lease held[16], more[16], leases[CONN_MAX_FDS];
    size_t n;

    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.bytes_per_client=10M", NULL);
    daemon_start(daemon);
    hello(&client, daemon);
    require_equal(client.max_client_bytes, 10 * MIB);
    require_equal(lease_until_refused(&client, held, 16), 5);
    require(strcmp(client.error_limit, "quota.bytes_per_client") == 0);
    require(client.error_message[0] != 0);
    stats_get(daemon, &stats);
    require_equal(stats.denied_total, 1);
    require_equal(stats.denied_quota_total, 1);
    require_equal(stats.leased_bytes, 10 * MIB);
    /* Another client of the same user has its own. */
    hello(&other, daemon);
    require_equal(lease_until_refused(&other, more, 16), 5);
    /* What is given back can be had again; what does not fit whole is granted in part. */
    lease_give_back(&client, &held[4]);
    lease_give_back(&client, &held[3]);
    /* (Given back is not gone at once: a worker may be busy with it.) */
    stats_until(daemon, &stats, stats.leased_bytes == 16 * MIB);
    /* (A grant may be less than what is asked and allowed; not more.) */
    uint32_t granted = 0;
    Hakmem__ErrorCode code;
    while ((code = client_lease(&client, 8, 1, leases, &n)) == NONE) {
        for (size_t i = 0; i < n; i++) {
            granted += leases[i].n_slabs;
            lease_close(&leases[i]);
        }
        require(granted <= 2);
    }
    require_equal(code, QUOTA);
    require_equal(granted, 2);
    client_close(&client);
    client_close(&other);
    close_all(held, 3);
    close_all(more, 5);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* In a child: leases as this user until refused, and returns how many SuperSlabs that were. */
static pid_t lease_as(struct daemon *daemon, uid_t uid, size_t n_expected, const char *limit)
{
    pid_t child = harness_fork();
    if (child != 0)
        return child;
    struct client client, second;
    struct lease held[64], more[64];
    harness_become(uid);
    hello(&client, daemon);
    size_t n = lease_until_refused(&client, held, n_expected > 2 ? n_expected : 64);
    require(strcmp(client.error_limit, limit) == 0);
    /* A second client of the same user gets nothing beyond it. */
    hello(&second, daemon);
    require_equal(lease_until_refused(&second, more, 64), 0);
    require(strcmp(second.error_limit, limit) == 0);
    require_equal(n, n_expected);
    /* And when the first has gone, what it had is there for the second: on its shelf or free. */
    client_close(&client);
    close_all(held, n);
    uint64_t deadline = harness_deadline();
    size_t n_more = 0;
    while (n_more < n_expected) {
        n_more += lease_until_refused(&second, more + n_more, 64 - n_more);
        require(!harness_is_late(deadline));
        harness_pause();
    }
    require_equal(n_more, n_expected);
    _exit(0);
}

static void test_bytes_per_user(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    harness_need_root();
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.bytes_per_user=16M",
                     "socket.mode=0666", NULL);
    daemon_start(daemon);
    pid_t a = lease_as(daemon, USER_A, 8, "quota.bytes_per_user");
    pid_t b = lease_as(daemon, USER_B, 8, "quota.bytes_per_user");
    harness_join(a);
    harness_join(b);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
    /* Nothing was forgotten: the same again. */
    harness_join(lease_as(daemon, USER_A, 8, "quota.bytes_per_user"));
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* An extent that does not fit whole is not granted in part of itself. */
static void test_long_runs_and_quota(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.bytes_per_client=10M", NULL);
    daemon_start(daemon);
    hello(&client, daemon);
    require_equal(client_lease(&client, 8, 8, leases, &n), QUOTA);
    require_equal(client_lease(&client, 8, 4, leases, &n), NONE);
    require_equal(n, 1);
    require_equal(leases[0].n_slabs, 4);
    lease_close(&leases[0]);
    require_equal(client_lease(&client, 4, 2, leases, &n), QUOTA);
    require_equal(client_lease(&client, 4, 1, leases, &n), NONE);
    require_equal(n, 1);
    require_equal(leases[0].n_slabs, 1);
    lease_close(&leases[0]);
    client_close(&client);
}

static void test_clients_per_user(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client clients[4];
    struct lease none[CONN_MAX_FDS];
    size_t n;

    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.clients_per_user=3", NULL);
    daemon_start(daemon);
    for (int i = 0; i < 3; i++)
        hello(&clients[i], daemon);
    client_connect(&clients[3], daemon);
    require_equal(client_hello(&clients[3], 1, none, &n), QUOTA);
    require(strcmp(clients[3].error_limit, "quota.clients_per_user") == 0);
    client_close(&clients[3]);
    /* Asking for figures needs no client's place. */
    stats_get(daemon, &stats);
    require_equal(stats.clients, 3);
    client_close(&clients[1]);
    stats_until(daemon, &stats, stats.clients == 2);
    hello(&clients[1], daemon);
    for (int i = 0; i < 3; i++)
        client_close(&clients[i]);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* Many Hellos at once, some of them one too many: nobody waits for
 * ever. */
static void test_hellos_at_once(void **state)
{
    enum { N_ALLOWED = 40, N = 60 };
    struct daemon *daemon = *state;
    struct client clients[N];
    Hakmem__Hello body = HAKMEM__HELLO__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    unsigned n_granted = 0, n_refused = 0;

    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.clients_per_user=40", NULL);
    daemon_start(daemon);
    body.version_min = body.version_max = 1;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &body;
    for (int i = 0; i < N; i++)
        client_connect(&clients[i], daemon);
    for (int i = 0; i < N; i++)
        require_equal(client_send(&clients[i], &request), 0);
    for (int i = 0; i < N; i++) {
        int fds[CONN_MAX_FDS];
        size_t n;
        Hakmem__Reply *reply = client_receive(&clients[i], fds, &n);
        require(reply != NULL);
        n_granted += reply->body_case == HAKMEM__REPLY__BODY_HELLO;
        n_refused += reply->body_case == HAKMEM__REPLY__BODY_ERROR;
        conn_close_fds(fds, n);
    }
    require_equal(n_granted, N_ALLOWED);
    require_equal(n_refused, N - N_ALLOWED);
    for (int i = 0; i < N; i++)
        client_close(&clients[i]);
}

/* Connections that never say Hello are bounded, too, and one user's do not take another's. */
static void test_connections_are_bounded(void **state)
{
    struct daemon *daemon = *state;
    struct client client, idle[200];
    size_t n_refused = 0;
    harness_need_root();
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.clients_per_user=20",
                     "socket.mode=0666", NULL);
    daemon_start(daemon);
    pid_t child = harness_fork();
    if (child == 0) {
        harness_become(USER_A);
        for (int i = 0; i < 200; i++) {
            Hakmem__Ping ping = HAKMEM__PING__INIT;
            Hakmem__Request request = HAKMEM__REQUEST__INIT;
            int fds[CONN_MAX_FDS];
            size_t n_fds;
            client_connect(&idle[i], daemon);
            request.body_case = HAKMEM__REQUEST__BODY_PING;
            request.ping = &ping;
            /* Refused: an error, or the daemon hangs up, before or after it is asked. */
            Hakmem__Reply *reply =
                client_send(&idle[i], &request) == 0 ? client_receive(&idle[i], fds, &n_fds) : NULL;
            n_refused += !reply || reply->body_case == HAKMEM__REPLY__BODY_ERROR;
        }
        require(n_refused > 0 && n_refused <= 180);
        for (;;)
            pause();
    }
    /* Meanwhile root connects as ever. */
    for (int i = 0; i < 10; i++) {
        hello(&client, daemon);
        client_close(&client);
    }
    kill(child, SIGKILL);
    (void)harness_wait(child);
}

/* A user that takes every descriptor of the daemon's that it can, in leases and then in
 * connections. */
static void take_all_descriptors(const struct daemon *daemon, int ready)
{
    static struct client client, idle[600];
    static struct lease held[600];
    Hakmem__Ping ping = HAKMEM__PING__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    unsigned n_refused = 0;
    request.body_case = HAKMEM__REQUEST__BODY_PING;
    request.ping = &ping;
    harness_become(USER_A);
    hello(&client, daemon);
    require(lease_until_refused(&client, held, 600) > 100);
    require(strcmp(client.error_limit, "LimitNOFILE") == 0);
    for (unsigned i = 0; i < 600 && n_refused < 20; i++) {
        int fds[CONN_MAX_FDS];
        size_t n_fds;
        client_connect(&idle[i], daemon);
        /* Told why, unless the daemon has hung up before it was asked. */
        Hakmem__Reply *reply =
            client_send(&idle[i], &request) == 0 ? client_receive(&idle[i], fds, &n_fds) : NULL;
        require(!reply || reply->body_case == HAKMEM__REPLY__BODY_PING ||
                strcmp(reply->error->limit, "LimitNOFILE") == 0);
        n_refused += !reply || reply->body_case == HAKMEM__REPLY__BODY_ERROR;
    }
    require_equal(n_refused, 20);
    require_equal(write(ready, "", 1), 1);
    for (;;)
        pause();
}

static void test_daemon_descriptors_are_shared(void **state)
{
    struct daemon *daemon = *state;
    struct client client, other;
    struct lease held[20];
    int ready[2];
    char byte;
    harness_need_root();
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "socket.mode=0666",
                     "quota.bytes_per_user=64G", "quota.bytes_per_client=64G",
                     "quota.requests_per_user=100000", "quota.requests_per_second=100000", NULL);
    daemon->n_descriptors = 600;
    daemon_start(daemon);
    require_equal(pipe(ready), 0);
    pid_t a = harness_fork();
    if (a == 0)
        take_all_descriptors(daemon, ready[1]);
    close(ready[1]);
    require_equal(read(ready[0], &byte, 1), 1);
    pid_t b = harness_fork();
    if (b == 0) {
        harness_become(USER_B);
        hello(&client, daemon);
        hello(&other, daemon);
        for (size_t i = 0; i < 8; i++) {
            size_t n;
            require_equal(client_lease(i % 2 ? &other : &client, 1, 1, &held[i], &n), NONE);
            require_equal(n, 1);
            lease_map(i % 2 ? &other : &client, &held[i]);
        }
        _exit(0);
    }
    harness_join(b);
    kill(a, SIGKILL);
    (void)harness_wait(a);
    close(ready[0]);
}

/* Limits change while programs run: more at once, less takes nothing away. */
static void test_live_change(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client, control;
    struct lease held[16];

    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.bytes_per_client=4M", NULL);
    daemon_start(daemon);
    hello(&client, daemon);
    size_t n = lease_until_refused(&client, held, 16);
    require_equal(n, 2);
    client_connect(&control, daemon);
    require_equal(client_set_quota(&control, "bytes_per_client", 8 * MIB), NONE);
    n += lease_until_refused(&client, held + n, 16 - n);
    require_equal(n, 4);
    require_equal(client_set_quota(&control, "bytes_per_client", 2 * MIB), NONE);
    require_equal(lease_until_refused(&client, held + n, 16 - n), 0);
    stats_get(daemon, &stats);
    require_equal(stats.leased_bytes, 8 * MIB);
    require_equal(client_set_quota(&control, "no_such_limit", 1),
                  HAKMEM__ERROR_CODE__ERROR_INVALID);
    client_close(&control);
    client_close(&client);
    close_all(held, n);
}

/* ---- descriptors in flight ---- */

/* Says Hello and leaves the answer, with the ledger's descriptor, in the socket's queue. */
static void hello_unread(struct client *client, struct daemon *daemon)
{
    Hakmem__Hello body = HAKMEM__HELLO__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__StatsReply stats;
    stats_get(daemon, &stats);
    uint64_t n_clients = stats.clients;
    body.version_min = body.version_max = 1;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &body;
    client_connect(client, daemon);
    require_equal(client_send(client, &request), 0);
    stats_until(daemon, &stats, stats.clients == n_clients + 1);
}

/* The daemon looks what was taken when it needs room, and not all the time. */
static void hello_in_time(struct client *client)
{
    struct lease none[CONN_MAX_FDS];
    uint64_t deadline = harness_deadline();
    size_t n;
    Hakmem__ErrorCode code;
    while ((code = client_hello(client, 0, none, &n)) == QUOTA) {
        require(strcmp(client->error_limit, "quota.descriptors_per_user") == 0);
        require(!harness_is_late(deadline));
        harness_pause();
    }
    require_equal(code, NONE);
}

static void require_no_room(struct client *client)
{
    struct lease none[CONN_MAX_FDS];
    size_t n;
    for (int i = 0; i < 20; i++) {
        require_equal(client_hello(client, 0, none, &n), QUOTA);
        require(strcmp(client->error_limit, "quota.descriptors_per_user") == 0);
        harness_pause();
    }
}

static void test_descriptors_in_flight(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client silent[4], client;
    struct lease leases[CONN_MAX_FDS];
    int fds[CONN_MAX_FDS];
    size_t n;

    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.descriptors_per_user=4", NULL);
    daemon_start(daemon);
    for (int i = 0; i < 4; i++)
        hello_unread(&silent[i], daemon);
    client_connect(&client, daemon);
    require_no_room(&client);
    stats_get(daemon, &stats);
    require(stats.denied_quota_total >= 20);
    require_equal(stats.clients, 4);
    /* One of them reads: its place is free. */
    require(client_receive(&silent[0], fds, &n) != NULL);
    require_equal(n, 1);
    conn_close_fds(fds, n);
    hello_in_time(&client);
    /* A grant is not larger than what may fly: one of them has left without reading. */
    client_close(&silent[1]);
    stats_until(daemon, &stats, stats.clients == 4);
    require_equal(client_lease(&client, 8, 1, leases, &n), NONE);
    require(n <= 2);
    for (size_t i = 0; i < n; i++)
        lease_close(&leases[i]);
    client_close(&client);
    for (int i = 0; i < 10; i++) {
        client_close(&silent[1]);
        stats_until(daemon, &stats, stats.clients == 3);
        hello_unread(&silent[1], daemon);
    }
    for (int i = 0; i < 4; i++)
        client_close(&silent[i]);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* One user's do not count for another, and a live change is for one, or for all. */
static void test_descriptors_of_one_user(void **state)
{
    struct daemon *daemon = *state;
    struct client silent[2], control;
    harness_need_root();
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "socket.mode=0666",
                     "user:61011.descriptors_per_user=2", NULL);
    daemon_start(daemon);
    int go[2];
    char byte = 0;
    require(pipe(go) == 0);
    pid_t child = harness_fork();
    if (child == 0) {
        struct client client;
        harness_become(USER_A);
        hello_unread(&silent[0], daemon);
        hello_unread(&silent[1], daemon);
        client_connect(&client, daemon);
        require_no_room(&client);
        require_equal(write(go[1], &byte, 1), 1);
        hello_in_time(&client); /* once it may have more */
        _exit(0);
    }
    require_equal(read(go[0], &byte, 1), 1);
    pid_t other = harness_fork();
    if (other == 0) {
        struct client client;
        harness_become(USER_B);
        hello(&client, daemon);
        _exit(0);
    }
    harness_join(other);
    client_connect(&control, daemon);
    require_equal(client_set_user_quota(&control, "descriptors_per_user", 3, USER_A), NONE);
    harness_join(child);
    client_close(&control);
    close(go[0]);
    close(go[1]);
}

/* ---- requests a second ---- */

static void ping(struct client *client)
{
    Hakmem__Ping body = HAKMEM__PING__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    int fds[CONN_MAX_FDS];
    size_t n;
    request.body_case = HAKMEM__REQUEST__BODY_PING;
    request.ping = &body;
    require_equal(client_send(client, &request), 0);
    require(client_receive(client, fds, &n) != NULL);
}

/* Connections that were throttled when they ended: that, too, waits, and may be counted late. */
#define N_LEAVING 5

static uint64_t throttled(struct daemon *daemon)
{
    Hakmem__StatsReply stats;
    stats_get(daemon, &stats);
    return stats.throttled_total;
}

/* Milliseconds for `n` requests of each, turn by turn, the connecting included. */
static uint64_t ping_all(struct daemon *daemon, struct client *clients, int n_clients, int n)
{
    uint64_t began = harness_now_ns();
    for (int i = 0; i < n_clients; i++)
        client_connect(&clients[i], daemon);
    for (int round = 0; round < n; round++) {
        for (int i = 0; i < n_clients; i++)
            ping(&clients[i]);
    }
    for (int i = 0; i < n_clients; i++)
        client_close(&clients[i]);
    return (harness_now_ns() - began) / 1000000;
}

static void test_requests_per_second(void **state)
{
    struct daemon *daemon = *state;
    struct client clients[2], control;
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "quota.requests_per_second=100", NULL);
    daemon_start(daemon);
    /* Two seconds' worth at once: each connection has its own. */
    require_equal(throttled(daemon), 0);
    (void)ping_all(daemon, clients, 2, 195);
    require_equal(throttled(daemon), 0);
    require(ping_all(daemon, clients, 1, 250) >= 400);
    require(throttled(daemon) > 0);
    /* Changed while it runs. */
    client_connect(&control, daemon);
    require_equal(client_set_quota(&control, "requests_per_second", 1000), NONE);
    require_equal(client_set_quota(&control, "requests_per_second", 0),
                  HAKMEM__ERROR_CODE__ERROR_INVALID);
    client_close(&control);
    uint64_t before = throttled(daemon);
    (void)ping_all(daemon, clients, 1, 1000);
    require(throttled(daemon) <= before + N_LEAVING);
}

/* All of a user's connections together, also when each of them is new; others do not notice. */
static void test_requests_per_user(void **state)
{
    struct daemon *daemon = *state;
    harness_need_root();
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "socket.mode=0666",
                     "quota.requests_per_user=50", "user:61012.requests_per_user=100000", NULL);
    daemon_start(daemon);
    for (int is_new = 0; is_new < 2; is_new++) {
        uint64_t before = throttled(daemon);
        pid_t child = harness_fork();
        if (child == 0) {
            struct client clients[5];
            uint64_t ms = 0;
            harness_become(USER_A);
            if (!is_new)
                ms = ping_all(daemon, clients, 5, 35);
            for (int i = 0; is_new && i < 70; i++)
                ms += ping_all(daemon, clients, 1, 1);
            /* 180 and 140, connecting included; 100 may come at once. */
            require(ms >= (is_new ? 700 : 1500));
            _exit(0);
        }
        harness_join(child);
        require(throttled(daemon) > before);
        before = throttled(daemon);
        child = harness_fork();
        if (child == 0) {
            struct client clients[5];
            harness_become(USER_B);
            (void)ping_all(daemon, clients, 5, 50);
            _exit(0);
        }
        harness_join(child);
        require(throttled(daemon) <= before + N_LEAVING);
    }
}

/* Only root and the daemon's own user steer it. */
static void test_control_is_not_for_everybody(void **state)
{
    struct daemon *daemon = *state;
    harness_need_root();
    daemon_start(daemon);
    pid_t child = harness_fork();
    if (child == 0) {
        const Hakmem__ErrorCode denied = HAKMEM__ERROR_CODE__ERROR_NOT_PERMITTED;
        Hakmem__StatsReply stats;
        struct client control;
        uint64_t released;
        harness_become(USER_A);
        client_connect(&control, daemon);
        require_equal(client_set_quota(&control, "bytes_per_client", UINT64_MAX), denied);
        require_equal(client_trim(&control, &released), denied);
        client_close(&control);
        stats_get(daemon, &stats); /* looking is free */
        _exit(0);
    }
    harness_join(child);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_bytes_per_client),
        TEST(test_bytes_per_user),
        TEST(test_long_runs_and_quota),
        TEST(test_clients_per_user),
        TEST(test_hellos_at_once),
        TEST(test_connections_are_bounded),
        TEST(test_daemon_descriptors_are_shared),
        TEST(test_live_change),
        TEST(test_descriptors_in_flight),
        TEST(test_descriptors_of_one_user),
        TEST(test_requests_per_second),
        TEST(test_requests_per_user),
        TEST(test_control_is_not_for_everybody),
    };
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
