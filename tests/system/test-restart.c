/*
 * The daemon dies and comes back: on the same socket path, over what its predecessor left there,
 * without taking a living daemon's place. Mapped memory outlives it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

static int setup(void **state)
{
    static const char *const options[] = {"pool.min=8M", "pool.max=64M", "reclaim.idle_ms=5", NULL};
    return daemon_setup(state, options, true);
}

static void test_memory_outlives_the_daemon(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client, again;
    struct lease lease, fresh;

    client_begin(&client, daemon, &lease);
    lease_fill(&lease, 0x31);
    uint64_t epoch = client.ledger->daemon_epoch;
    require(epoch != 0);
    for (int round = 0; round < 5; round++) {
        daemon_kill(daemon);
        /* The ledger and the memory are still there, and nobody reclaims what is IDLE. */
        if (round == 0)
            (void)client_expect_hang_up(&client);
        for (size_t i = 0; i < SUPERSLAB_BYTES; i += 4096)
            require_equal(lease.memory[i], 0x31);
        daemon_start(daemon);
        client_begin(&again, daemon, &fresh);
        require(again.ledger->daemon_epoch != epoch);
        epoch = again.ledger->daemon_epoch;
        require_equal(fresh.memory[0], 0);
        stats_get(daemon, &stats);
        require_equal(stats.clients, 1);
        require_equal(stats.leased_bytes, SUPERSLAB_BYTES);
        lease_give_back(&again, &fresh);
        client_close(&again);
    }
    require_equal(lease.memory[SUPERSLAB_BYTES - 1], 0x31);
    lease_unmap(&lease);
    lease_close(&lease);
    client_close(&client);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* Clients report what they still hold from an earlier daemon; it is shown while they are there. */
static void test_held_bytes_are_reported(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    Hakmem__Hello hello = HAKMEM__HELLO__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    struct client client;
    int fds[CONN_MAX_FDS];
    size_t n_fds;

    hello.version_min = hello.version_max = 1;
    hello.held_bytes = 6 * MIB;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &hello;
    client_connect(&client, daemon);
    require_equal(client_send(&client, &request), 0);
    require(client_receive(&client, fds, &n_fds) != NULL);
    conn_close_fds(fds, n_fds);
    stats_get(daemon, &stats);
    require_equal(stats.held_bytes, 6 * MIB);
    client_close(&client);
    stats_until(daemon, &stats, stats.held_bytes == 0);
}

/* Runs a second daemon on the same socket; its exit status and what it said. */
static int run_second(const struct daemon *first, char *said, size_t capacity)
{
    struct daemon second;
    daemon_init(&second);
    memcpy(second.socket_path, first->socket_path, sizeof(second.socket_path));
    daemon_spawn(&second, NULL);
    int status = daemon_wait_exit(&second);
    snprintf(said, capacity, "%s", daemon_log(&second));
    daemon_deinit(&second);
    return status;
}

static void test_living_socket_is_refused(void **state)
{
    struct daemon *daemon = *state;
    char said[4096];
    struct client client;
    struct lease lease;

    int status = run_second(daemon, said, sizeof(said));
    fprintf(stderr, "%s", said);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    require(strstr(said, daemon->socket_path) != NULL);
    require(strstr(said, "listening") || strstr(said, "running") || strstr(said, "in use"));
    /* The first one did not notice. */
    client_begin(&client, daemon, &lease);
    lease_give_back(&client, &lease);
    client_close(&client);
    daemon_require_alive(daemon);
}

/* A file that is no socket is somebody's: it is not removed. */
static void test_other_file_is_left_alone(void **state)
{
    struct daemon *daemon = *state;
    char said[4096], text[16];
    daemon_kill(daemon);
    unlink(daemon->socket_path);
    int fd = open(daemon->socket_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    require(fd >= 0 && write(fd, "precious", 8) == 8);
    close(fd);
    int status = run_second(daemon, said, sizeof(said));
    fprintf(stderr, "%s", said);
    require(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    require(strstr(said, daemon->socket_path) != NULL);
    fd = open(daemon->socket_path, O_RDONLY | O_CLOEXEC);
    require(fd >= 0 && read(fd, text, sizeof(text)) == 8);
    close(fd);
}

/* A socket nobody listens on, of whatever kind, is in the way no longer. */
static void test_stale_socket(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease lease;
    for (int kind = 0; kind < 3; kind++) {
        const int types[] = {SOCK_SEQPACKET, SOCK_STREAM, SOCK_SEQPACKET};
        daemon_kill(daemon);
        if (kind > 0) {
            struct sockaddr_un address = {.sun_family = AF_UNIX};
            memcpy(address.sun_path, daemon->socket_path, strlen(daemon->socket_path) + 1);
            unlink(daemon->socket_path);
            int fd = socket(AF_UNIX, types[kind], 0);
            require(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
            if (kind == 2)
                require(listen(fd, 1) == 0);
            close(fd);
        }
        struct stat status;
        require(stat(daemon->socket_path, &status) == 0 && S_ISSOCK(status.st_mode));
        daemon_start(daemon);
        client_begin(&client, daemon, &lease);
        lease_give_back(&client, &lease);
        client_close(&client);
    }
}

/* SIGKILL in the middle of many clients at work: each new daemon serves them, and loses nothing of
 * its own. */
static void test_killed_under_load(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = harness_fork();
        if (children[i] != 0)
            continue;
        unsigned n_good = 0, n_failed = 0;
        uint64_t until = harness_now_ns() + 3000000000u;
        while (harness_now_ns() < until) {
            /* Not the harness's calls: here the daemon may be gone at any moment. */
            struct client client = {.socket = -1};
            Hakmem__Ping ping = HAKMEM__PING__INIT;
            Hakmem__Request request = HAKMEM__REQUEST__INIT;
            Hakmem__Reply *reply = NULL;
            int fds[CONN_MAX_FDS];
            size_t n_fds = 0;
            request.body_case = HAKMEM__REQUEST__BODY_PING;
            request.ping = &ping;
            if (conn_connect(daemon->socket_path, &client.socket) == 0 &&
                client_send(&client, &request) == 0)
                reply = client_receive(&client, fds, &n_fds);
            n_good += reply != NULL;
            n_failed += reply == NULL;
            client_close(&client);
        }
        /* Both must have been seen, or nothing was tried. */
        _exit(n_good > 0 && n_failed > 0 ? 0 : 1);
    }
    uint64_t until = harness_now_ns() + 2500000000u;
    for (int round = 0; harness_now_ns() < until; round++) {
        struct client client;
        struct lease lease;
        client_begin(&client, daemon, &lease);
        client_close(&client);
        lease_unmap(&lease);
        lease_close(&lease);
        daemon_kill(daemon);
        daemon_start(daemon);
    }
    for (int i = 0; i < 4; i++)
        harness_join(children[i]);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, daemon_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_memory_outlives_the_daemon),
        TEST(test_held_bytes_are_reported),
        TEST(test_living_socket_is_refused),
        TEST(test_other_file_is_left_alone),
        TEST(test_stale_socket),
        TEST(test_killed_under_load),
    };
    return cmocka_run_group_tests_name("restart", tests, NULL, NULL);
}
