/*
 * How a service manager sees the daemon: READY, RELOADING and STOPPING, SIGHUP and SIGTERM, a
 * socket handed over.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE  HAKMEM__ERROR_CODE__ERROR_NONE
#define QUOTA HAKMEM__ERROR_CODE__ERROR_QUOTA

static int setup(void **state)
{
    struct daemon *daemon = malloc(sizeof(*daemon));
    daemon_init(daemon);
    daemon_configure(daemon, "pool.min=4M", "pool.max=32M", NULL);
    *state = daemon;
    return 0;
}

static int teardown(void **state)
{
    daemon_deinit(*state);
    free(*state);
    return 0;
}

static void hello(struct client *client, const struct daemon *daemon)
{
    struct lease none[CONN_MAX_FDS];
    size_t n;
    client_connect(client, daemon);
    require_equal(client_hello(client, 0, none, &n), NONE);
}

static void test_terminate(void **state)
{
    struct daemon *daemon = *state;
    const int signals[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        struct client client;
        struct lease lease;
        struct stat status;
        daemon_start(daemon);
        client_begin(&client, daemon, &lease);
        lease.memory[0] = 1;
        daemon_signal(daemon, signals[i]);
        daemon_wait_notified(daemon, "STOPPING=1");
        require_equal(daemon_wait_exit(daemon), 0);
        (void)client_expect_hang_up(&client);
        require_equal(lease.memory[0], 1);
        /* It takes its socket with it. */
        require(stat(daemon->socket_path, &status) < 0 && errno == ENOENT);
        lease_unmap(&lease);
        lease_close(&lease);
        client_close(&client);
    }
}

/* SIGTERM while it prewarms, reclaims and serves: still an orderly end. */
static void test_terminate_while_busy(void **state)
{
    struct daemon *daemon = *state;
    daemon_configure(daemon, "pool.min=64M", "pool.max=128M", "pool.backing=4k",
                     "reclaim.idle_ms=1", NULL);
    for (int round = 0; round < 5; round++) {
        struct client client;
        struct lease lease;
        daemon_start(daemon);
        client_begin(&client, daemon, &lease);
        require(lease_change(&client, &lease, 0, SLAB_IDLE));
        if (round % 2)
            while (lease_state(&client, &lease, 0) == SLAB_IDLE)
                ;
        daemon_signal(daemon, SIGTERM);
        require_equal(daemon_wait_exit(daemon), 0);
        lease_unmap(&lease);
        lease_close(&lease);
        client_close(&client);
    }
}

/* SIGHUP reads the file again: limits change for those connected, nobody is dropped. */
static void test_reload(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease leases[CONN_MAX_FDS], kept[CONN_MAX_FDS];
    size_t n;

    daemon_write_config(daemon, "[quota]\nbytes_per_client = 2M\n");
    daemon_start(daemon);
    hello(&client, daemon);
    require_equal(client.max_client_bytes, 2 * MIB);
    require_equal(client_lease(&client, 1, 1, kept, &n), NONE);
    require_equal(client_lease(&client, 1, 1, leases, &n), QUOTA);
    daemon_write_config(daemon, "[quota]\nbytes_per_client = 4M\n");
    daemon_signal(daemon, SIGHUP);
    daemon_wait_notified(daemon, "RELOADING=1");
    daemon_wait_notified(daemon, "READY=1");
    require_equal(client_lease(&client, 1, 1, leases, &n), NONE);
    lease_close(&leases[0]);
    require_equal(client_lease(&client, 1, 1, leases, &n), QUOTA);

    /* A file that does not read right changes nothing, says why, and stops nobody. */
    daemon_write_config(daemon, "[quota]\nbytes_per_client = 8M\nbytes_per_user = lots\n");
    daemon_signal(daemon, SIGHUP);
    daemon_wait_logged(daemon, "lots");
    require(strstr(daemon_log(daemon), ":3:") != NULL);
    require_equal(client_lease(&client, 1, 1, leases, &n), QUOTA);
    daemon_require_alive(daemon);
    lease_close(&kept[0]);
    client_close(&client);
}

/* An option of the command line stands above the file, after a reload as before. */
static void test_reload_keeps_the_command_line(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    daemon_configure(daemon, "quota.bytes_per_client=6M", NULL);
    daemon_write_config(daemon, "[quota]\nbytes_per_client = 2M\n");
    daemon_start(daemon);
    daemon_signal(daemon, SIGHUP);
    daemon_wait_notified(daemon, "RELOADING=1");
    daemon_wait_notified(daemon, "READY=1");
    hello(&client, daemon);
    require_equal(client.max_client_bytes, 6 * MIB);
    client_close(&client);
}

/* A storm of reloads while clients come and go, under a manager that reads none of its
 * notifications. */
static void test_many_reloads(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    daemon_start(daemon);
    for (int round = 0; round < 100; round++) {
        struct client client;
        struct lease lease;
        daemon_signal(daemon, SIGHUP);
        client_begin(&client, daemon, &lease);
        lease_give_back(&client, &lease);
        client_close(&client);
    }
    stats_until(daemon, &stats, stats_are_quiet(&stats));
    daemon_signal(daemon, SIGTERM);
    require_equal(daemon_wait_exit(daemon), 0);
}

/* systemd-socket-activate binds, waits for a connection, and starts the daemon on its socket. */
static void test_socket_activation(void **state)
{
    struct daemon *daemon = *state;
    const char *activate = "/usr/bin/systemd-socket-activate";
    char listen_option[128], notify[128], hakmemd[512];
    struct client client;
    struct lease lease;
    struct stat status;

    if (access(activate, X_OK) != 0) {
        fprintf(stderr, "skipped: no %s\n", activate);
        skip();
    }
    snprintf(listen_option, sizeof(listen_option), "--listen=%s", daemon->socket_path);
    snprintf(notify, sizeof(notify), "--setenv=NOTIFY_SOCKET=%s", daemon->notify_path);
    snprintf(hakmemd, sizeof(hakmemd), "%s", harness_artifact("hakmemd"));
    daemon->pid = harness_fork();
    if (daemon->pid == 0) {
        execl(activate, activate, "--seqpacket", listen_option, notify, hakmemd, "--config",
              daemon->config_path, "-o", "pool.min=4M", NULL);
        _exit(127);
    }
    uint64_t deadline = harness_deadline();
    int r, probe;
    /* The file is there before anybody listens. */
    while ((r = conn_connect(daemon->socket_path, &probe)) == -ENOENT || r == -ECONNREFUSED) {
        require(!harness_is_late(deadline));
        harness_pause();
    }
    require_equal(r, 0);
    close(probe);
    /* The first connection waits in the queue until the daemon is there. */
    client_begin(&client, daemon, &lease);
    daemon_wait_ready(daemon);
    lease_give_back(&client, &lease);
    client_close(&client);
    client_begin(&client, daemon, &lease);
    lease_give_back(&client, &lease);
    client_close(&client);
    daemon_signal(daemon, SIGTERM);
    require_equal(daemon_wait_exit(daemon), 0);
    /* The socket is the manager's: it stays, for the next start. */
    require(stat(daemon->socket_path, &status) == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_terminate),    TEST(test_terminate_while_busy),
        TEST(test_reload),       TEST(test_reload_keeps_the_command_line),
        TEST(test_many_reloads), TEST(test_socket_activation),
    };
    return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
