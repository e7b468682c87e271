/*
 * Quotas: each limit is met exactly, refuses with its name, is undone when what it counted is gone,
 * and counts each user alone. A refused client stays a client.
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
        TEST(test_connections_are_bounded),
        TEST(test_live_change),
        TEST(test_control_is_not_for_everybody),
    };
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
