/*
 * The whole daemon in a child process, and a raw client's calls to it. A test changes `settings`
 * before start_daemon().
 */
#ifndef HAKMEM_TESTS_UNIT_HAKMEMD_DAEMON_H
#define HAKMEM_TESTS_UNIT_HAKMEMD_DAEMON_H

#include "fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "hakmemd/config.h"
#include "proto/wire.h"

static char folder[32], socket_path[64];
static struct server_settings settings;
static pid_t daemon_pid;
static void (*become_daemon)(void); /* called in the daemon's process, if set */

/* ---- the daemon ---- */

/* What a SIGHUP finds in the configuration. */
static inline bool reload(void *data, struct server_settings *settings_out)
{
    (void)data;
    *settings_out = settings;
    settings_out->quota.defaults.clients_per_user = 1;
    return true;
}

static inline void start_daemon(void)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    daemon_pid = fork();
    if (daemon_pid == 0) {
        struct server *server;
        if (become_daemon)
            become_daemon();
        if (server_new(&settings, reload, NULL, &server) < 0)
            _exit(3);
        if (write(ready[1], &byte, 1) != 1)
            _exit(4);
        int r = server_run(server);
        server_free(server);
        _exit(r == 0 ? 0 : 5);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

static inline int setup(void **state)
{
    (void)state;
    struct config_source source = {.file = "/dev/null"};
    char error[CONFIG_ERROR_BYTES];
    strcpy(folder, "/tmp/hakmem-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(socket_path, sizeof(socket_path), "%s/d/s", folder);
    assert_true(config_load(&source, &settings, error));
    strcpy(settings.socket_path, socket_path);
    settings.pool.min_bytes = 8 * MIB;
    settings.pool.max_bytes = 64 * MIB;
    settings.idle_ms = 20;
    settings.log_level = LOG_LEVEL_ERROR;
    become_daemon = NULL;
    return 0;
}

static inline int stop_daemon(void)
{
    int status = -1;
    uint64_t since_ms = clock_now_ms();
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, &status, 0);
    daemon_pid = 0;
    assert_true(clock_now_ms() - since_ms < 2000);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline int teardown(void **state)
{
    (void)state;
    char path[96];
    if (daemon_pid > 0)
        assert_int_equal(stop_daemon(), 0);
    assert_int_equal(access(socket_path, F_OK), -1); /* it takes its socket with it */
    snprintf(path, sizeof(path), "%s/d", folder);
    rmdir(path);
    return rmdir(folder);
}

/* ---- the client ---- */

static int fds[CONN_MAX_FDS];
static size_t n_fds;
static struct wire_arena arena;

static inline int dial(void)
{
    int fd;
    assert_int_equal(conn_connect(socket_path, &fd), 0);
    return fd;
}

static inline void send_request(int fd, Hakmem__Request *request)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;
    assert_int_equal(wire_pack_request(request, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(conn_send(fd, packet, n_bytes, NULL, 0), 0);
}

/* NULL: the daemon has hung up. Descriptors are in fds. */
static inline Hakmem__Reply *receive(int fd)
{
    static unsigned char packet[CONN_REPLY_MAX_BYTES], memory[1 << 20];
    size_t n_bytes;
    Hakmem__Reply *reply;
    struct pollfd waits = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&waits, 1, FIXTURE_PATIENCE_MS), 1);
    int r = conn_recv(fd, packet, sizeof(packet), &n_bytes, fds, &n_fds);
    if (r == CONN_CLOSED || r == -ECONNRESET)
        return NULL;
    assert_int_equal(r, 0);
    arena = (struct wire_arena){.bytes = memory, .capacity = sizeof(memory)};
    assert_int_equal(wire_unpack_reply(&arena, packet, n_bytes, &reply), 0);
    return reply;
}

static inline Hakmem__Reply *call(int fd, Hakmem__Request *request)
{
    send_request(fd, request);
    Hakmem__Reply *reply = receive(fd);
    assert_non_null(reply);
    assert_int_equal(reply->id, request->id);
    return reply;
}

static inline Hakmem__Request *make_hello(uint32_t version, uint32_t want_slabs)
{
    static Hakmem__Request request;
    static Hakmem__Hello hello;
    hakmem__request__init(&request);
    hakmem__hello__init(&hello);
    hello.version_min = hello.version_max = version;
    hello.want_slabs = want_slabs;
    request.id = 11;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &hello;
    return &request;
}

static inline Hakmem__Request *make_lease(uint32_t n_slabs, uint32_t run_slabs)
{
    static Hakmem__Request request;
    static Hakmem__Lease lease;
    hakmem__request__init(&request);
    hakmem__lease__init(&lease);
    lease.n_slabs = n_slabs;
    lease.run_slabs = run_slabs;
    request.id = 12;
    request.body_case = HAKMEM__REQUEST__BODY_LEASE;
    request.lease = &lease;
    return &request;
}

static inline Hakmem__Request *make_ping(void)
{
    static Hakmem__Request request;
    static Hakmem__Ping ping;
    hakmem__request__init(&request);
    hakmem__ping__init(&ping);
    request.id = 13;
    request.body_case = HAKMEM__REQUEST__BODY_PING;
    request.ping = &ping;
    return &request;
}

static inline Hakmem__Request *make_clients_query(void)
{
    static Hakmem__Request request;
    static Hakmem__ClientsQuery query;
    hakmem__request__init(&request);
    hakmem__clients_query__init(&query);
    request.id = 15;
    request.body_case = HAKMEM__REQUEST__BODY_CLIENTS;
    request.clients = &query;
    return &request;
}

static inline Hakmem__Request *make_trim(void)
{
    static Hakmem__Request request;
    static Hakmem__Trim trim;
    hakmem__request__init(&request);
    hakmem__trim__init(&trim);
    request.id = 14;
    request.body_case = HAKMEM__REQUEST__BODY_TRIM;
    request.trim = &trim;
    return &request;
}

static inline Hakmem__StatsReply *stats_by(int fd)
{
    static Hakmem__Request request;
    static Hakmem__StatsQuery query;
    hakmem__request__init(&request);
    hakmem__stats_query__init(&query);
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    Hakmem__StatsReply *stats = call(fd, &request)->stats;
    assert_int_equal(stats->created_bytes_total - stats->discarded_bytes_total,
                     stats->stock_bytes + stats->leased_bytes + stats->orphan_bytes +
                         stats->scrubbing_bytes);
    return stats;
}

#define stats_wait(fd, condition)                                                                  \
    do {                                                                                           \
        uint64_t deadline_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;                               \
        Hakmem__StatsReply *stats;                                                                 \
        while (stats = stats_by(fd), !(condition)) {                                               \
            usleep(2000);                                                                          \
            if (clock_now_ms() > deadline_ms)                                                      \
                fail_msg("waited too long for " #condition);                                       \
        }                                                                                          \
    } while (0)

static inline void expect_error(Hakmem__Reply *reply, Hakmem__ErrorCode code)
{
    assert_non_null(reply);
    assert_int_equal(reply->body_case, HAKMEM__REPLY__BODY_ERROR);
    assert_int_equal(reply->error->code, code);
    assert_true(strlen(reply->error->message) > 0);
}

#define daemon_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
