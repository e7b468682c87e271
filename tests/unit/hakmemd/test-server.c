/* The whole daemon in a child process, against a raw client: the protocol's rules, its limits, its
 * signals. */
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

/* ---- the daemon ---- */

/* What a SIGHUP finds in the configuration. */
static bool reload(void *data, struct server_settings *settings_out)
{
    (void)data;
    *settings_out = settings;
    settings_out->quota.defaults.clients_per_user = 1;
    return true;
}

static void start_daemon(void)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    daemon_pid = fork();
    if (daemon_pid == 0) {
        struct server *server;
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

static int setup(void **state)
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
    return 0;
}

static int stop_daemon(void)
{
    int status = -1;
    uint64_t since_ms = clock_now_ms();
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, &status, 0);
    daemon_pid = 0;
    assert_true(clock_now_ms() - since_ms < 2000);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int teardown(void **state)
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

static int dial(void)
{
    int fd;
    assert_int_equal(conn_connect(socket_path, &fd), 0);
    return fd;
}

static void send_request(int fd, Hakmem__Request *request)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;
    assert_int_equal(wire_pack_request(request, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(conn_send(fd, packet, n_bytes, NULL, 0), 0);
}

/* NULL: the daemon has hung up. Descriptors are in fds. */
static Hakmem__Reply *receive(int fd)
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

static Hakmem__Reply *call(int fd, Hakmem__Request *request)
{
    send_request(fd, request);
    Hakmem__Reply *reply = receive(fd);
    assert_non_null(reply);
    assert_int_equal(reply->id, request->id);
    return reply;
}

static Hakmem__Request *make_hello(uint32_t version, uint32_t want_slabs)
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

static Hakmem__Request *make_lease(uint32_t n_slabs, uint32_t run_slabs)
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

static Hakmem__Request *make_ping(void)
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

static Hakmem__Request *make_trim(void)
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

static Hakmem__StatsReply *stats_by(int fd)
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

static void expect_error(Hakmem__Reply *reply, Hakmem__ErrorCode code)
{
    assert_non_null(reply);
    assert_int_equal(reply->body_case, HAKMEM__REPLY__BODY_ERROR);
    assert_int_equal(reply->error->code, code);
    assert_true(strlen(reply->error->message) > 0);
}

/* ---- tests ---- */

static void test_hello_and_lease(void **state)
{
    (void)state;
    start_daemon();
    int fd = dial(), other = dial();
    Hakmem__Reply *reply = call(fd, make_hello(1, 3));
    assert_int_equal(reply->body_case, HAKMEM__REPLY__BODY_HELLO);
    assert_int_equal(reply->hello->version, 1);
    assert_true(reply->hello->n_extents >= 1);
    assert_int_equal(n_fds, 1 + reply->hello->n_extents);
    uint32_t n_slots = reply->hello->ledger_slots;
    struct ledger *ledger =
        mmap(NULL, ledger_bytes(n_slots), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    assert_ptr_not_equal(ledger, MAP_FAILED);
    assert_int_equal(ledger->magic, LEDGER_MAGIC);
    assert_int_equal(ledger->abi_version, LEDGER_ABI_VERSION);
    assert_int_equal(ledger->n_slots, n_slots);
    assert_true(ledger->daemon_epoch != 0);
    assert_int_equal(ftruncate(fds[0], 0), -1);
    conn_close_fds(fds, n_fds);
    /* Two clients under the same uid; each leases for itself. */
    call(other, make_hello(1, 0));
    assert_int_equal(n_fds, 1);
    conn_close_fds(fds, n_fds);
    reply = call(other, make_lease(2, 2));
    assert_int_equal(reply->body_case, HAKMEM__REPLY__BODY_LEASE);
    assert_int_equal(reply->lease->extents[0]->n_slabs, 2);
    /* Another's extent is not one's own; nor is one that never was. */
    uint64_t ids[] = {reply->lease->extents[0]->id, 99999};
    assert_int_equal(n_fds, 1);
    struct stat status;
    assert_int_equal(fstat(fds[0], &status), 0);
    assert_int_equal(status.st_size, 2 * SUPERSLAB_BYTES);
    conn_close_fds(fds, n_fds);
    assert_int_equal(stats_by(fd)->clients, 2);
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Return returned = HAKMEM__RETURN__INIT;
    returned.n_extent_ids = 2;
    returned.extent_ids = ids;
    request.body_case = HAKMEM__REQUEST__BODY_RETURN_EXTENTS;
    request.return_extents = &returned;
    assert_int_equal(call(fd, &request)->return_extents->n_accepted, 0);
    assert_int_equal(call(other, &request)->return_extents->n_accepted, 1);
    assert_int_equal(call(other, &request)->return_extents->n_accepted, 0);
    munmap(ledger, ledger_bytes(n_slots));
    close(fd);
    stats_wait(other, stats->leased_bytes + stats->orphan_bytes == 0 && stats->clients == 1);
    close(other);
}

static void test_order_of_requests(void **state)
{
    (void)state;
    start_daemon();
    int watcher = dial(), fd = dial();
    expect_error(call(fd, make_lease(1, 1)), HAKMEM__ERROR_CODE__ERROR_STATE);
    assert_null(receive(fd));
    close(fd);
    fd = dial();
    call(fd, make_hello(1, 1));
    conn_close_fds(fds, n_fds);
    expect_error(call(fd, make_hello(1, 1)), HAKMEM__ERROR_CODE__ERROR_STATE);
    assert_null(receive(fd));
    close(fd);
    fd = dial();
    expect_error(call(fd, make_hello(2, 1)), HAKMEM__ERROR_CODE__ERROR_VERSION);
    assert_null(receive(fd));
    close(fd);
    assert_int_equal(stats_by(watcher)->protocol_errors_total, 2);
    close(watcher);
}

static void test_values_out_of_range(void **state)
{
    (void)state;
    start_daemon();
    int fd = dial();
    static const uint32_t bad[][2] = {{0, 1}, {257, 1}, {1, 0}, {1, 3}, {1, 32}, {UINT32_MAX, 1}};
    expect_error(call(fd, make_hello(1, 17)), HAKMEM__ERROR_CODE__ERROR_INVALID);
    call(fd, make_hello(1, 0));
    conn_close_fds(fds, n_fds);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect_error(call(fd, make_lease(bad[i][0], bad[i][1])), HAKMEM__ERROR_CODE__ERROR_INVALID);
    Hakmem__Request empty = HAKMEM__REQUEST__INIT;
    empty.id = 5;
    expect_error(call(fd, &empty), HAKMEM__ERROR_CODE__ERROR_UNSUPPORTED);
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__SetQuota order = HAKMEM__SET_QUOTA__INIT;
    order.key = (char *)"nonsense";
    request.body_case = HAKMEM__REQUEST__BODY_SET_QUOTA;
    request.set_quota = &order;
    expect_error(call(fd, &request), HAKMEM__ERROR_CODE__ERROR_INVALID);
    /* It lives on, and so does the peer. */
    assert_int_equal(call(fd, make_ping())->ping->pid, daemon_pid);
    close(fd);
}

static void test_malformed(void **state)
{
    (void)state;
    start_daemon();
    int watcher = dial();
    static unsigned char junk[CONN_REQUEST_MAX_BYTES + 1];
    memset(junk, 0xff, sizeof(junk));
    int fd = dial();
    assert_int_equal(conn_send(fd, junk, 100, NULL, 0), 0);
    expect_error(receive(fd), HAKMEM__ERROR_CODE__ERROR_MALFORMED);
    assert_null(receive(fd));
    close(fd);
    fd = dial(); /* too long */
    assert_int_equal(conn_send(fd, junk, sizeof(junk), NULL, 0), 0);
    assert_null(receive(fd));
    close(fd);
    fd = dial(); /* with a descriptor */
    assert_int_equal(conn_send(fd, junk, 1, &fd, 1), 0);
    assert_null(receive(fd));
    close(fd);
    assert_int_equal(stats_by(watcher)->protocol_errors_total, 3);
    srand(7);
    for (int i = 0; i < 300; i++) {
        size_t n = 1 + (size_t)rand() % 64;
        for (size_t k = 0; k < n; k++)
            junk[k] = (unsigned char)(rand() % 3 ? rand() : 8 * (rand() % 40) + rand() % 3);
        fd = dial();
        conn_send(fd, junk, n, NULL, 0);
        receive(fd); /* whatever it says */
        conn_close_fds(fds, n_fds);
        n_fds = 0;
        close(fd);
    }
    stats_wait(watcher, stats->clients == 0 && stats->leased_bytes + stats->orphan_bytes == 0);
    close(watcher);
}

/* A second packet with descriptors waits until the first has been read, and what comes after it
 * waits with it. */
static void test_one_packet_of_descriptors_in_flight(void **state)
{
    (void)state;
    start_daemon();
    int fd = dial(), watcher = dial();
    send_request(fd, make_hello(1, 1));
    send_request(fd, make_lease(1, 1));
    send_request(fd, make_ping());
    stats_wait(watcher, stats->clients == 1);
    for (int i = 0; i < 50; i++) /* the daemon has had its turns */
        stats_by(watcher);
    assert_int_equal(stats_by(watcher)->leases_total, 1);
    assert_int_equal(receive(fd)->id, 11);
    conn_close_fds(fds, n_fds);
    stats_wait(watcher, stats->leases_total == 2);
    assert_int_equal(receive(fd)->id, 12);
    conn_close_fds(fds, n_fds);
    assert_int_equal(receive(fd)->id, 13);
    /* One that hangs up with a request held is let go of. */
    send_request(fd, make_lease(1, 1));
    send_request(fd, make_lease(1, 1));
    stats_wait(watcher, stats->leases_total == 3);
    close(fd);
    stats_wait(watcher, stats->clients == 0 && stats->leased_bytes + stats->orphan_bytes == 0);
    close(watcher);
}

static void test_peer_that_does_not_read(void **state)
{
    (void)state;
    settings.peer.unread_timeout_ms = 100;
    settings.quota.defaults.requests_per_second = 1000000;
    start_daemon();
    int fd = dial(), watcher = dial();
    call(fd, make_hello(1, 1));
    conn_close_fds(fds, n_fds);
    unsigned char packet[64];
    size_t n_bytes;
    assert_int_equal(wire_pack_request(make_ping(), packet, sizeof(packet), &n_bytes), 0);
    while (conn_send(fd, packet, n_bytes, NULL, 0) != -EPIPE)
        usleep(100);
    stats_wait(watcher, stats->clients == 0);
    close(fd);
    close(watcher);
}

static void test_rate(void **state)
{
    (void)state;
    settings.quota.defaults.requests_per_second = 100;
    start_daemon();
    int fd = dial();
    uint64_t since_ms = clock_now_ms();
    for (int i = 0; i < 250; i++)
        call(fd, make_ping());
    /* 200 at once, 50 at 100 a second. */
    assert_true(clock_now_ms() - since_ms >= 400);
    close(fd);
}

static void test_orders_need_the_right(void **state)
{
    (void)state;
    start_daemon();
    int fd = dial();
    assert_int_equal(call(fd, make_trim())->body_case, HAKMEM__REPLY__BODY_TRIM);
    close(fd);
    if (geteuid() != 0)
        return;
    char d[96];
    snprintf(d, sizeof(d), "%s/d", folder);
    assert_int_equal(chmod(folder, 0755) | chmod(d, 0755), 0);
    pid_t child = fork();
    if (child == 0) {
        if (setresuid(65534, 65534, 65534) < 0)
            _exit(2);
        fd = dial();
        expect_error(call(fd, make_trim()), HAKMEM__ERROR_CODE__ERROR_NOT_PERMITTED);
        call(fd, make_ping());
        stats_by(fd);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void test_killed_client(void **state)
{
    (void)state;
    start_daemon();
    int watcher = dial();
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            int fd = dial();
            call(fd, make_hello(1, 4));
            for (size_t k = 1; k < n_fds; k++)
                memset(mmap(NULL, SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fds[k], 0),
                       1, SUPERSLAB_BYTES);
            raise(SIGKILL);
        }
        waitpid(child, NULL, 0);
    }
    stats_wait(watcher, stats->clients == 0 && stats->leased_bytes == 0 &&
                            stats->orphan_bytes == 0 && stats->scrubbing_bytes == 0);
    close(watcher);
}

/* A forked child with a copy of the socket does not keep its dead parent's connection. */
static void test_exit_is_seen_past_copies(void **state)
{
    (void)state;
    start_daemon();
    int watcher = dial(), ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t parent = fork();
    if (parent == 0) {
        int fd = dial();
        call(fd, make_hello(1, 1));
        pid_t child = fork();
        if (child == 0) {
            char byte;
            close(ends[1]);
            ssize_t n = read(ends[0], &byte, 1); /* until the test lets go of the other end */
            _exit(n == 0 ? 0 : 1);
        }
        _exit(0);
    }
    waitpid(parent, NULL, 0);
    stats_wait(watcher, stats->clients == 0 && stats->connections_total == 2);
    assert_true(stats_by(watcher)->orphan_bytes > 0); /* the child still has the descriptors */
    close(ends[0]);
    close(ends[1]);
    stats_wait(watcher, stats->orphan_bytes == 0);
    close(watcher);
}

static void test_sighup(void **state)
{
    (void)state;
    start_daemon();
    int fd = dial(), other = dial(), third = dial();
    call(fd, make_hello(1, 1));
    conn_close_fds(fds, n_fds);
    call(other, make_hello(1, 1));
    conn_close_fds(fds, n_fds);
    kill(daemon_pid, SIGHUP);
    /* Nobody is dropped; nobody new is let in. A signal comes when it comes. */
    Hakmem__Reply *reply;
    uint64_t deadline_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;
    while ((reply = call(third, make_hello(1, 0)))->body_case == HAKMEM__REPLY__BODY_HELLO) {
        conn_close_fds(fds, n_fds);
        close(third);
        third = dial();
        assert_true(clock_now_ms() < deadline_ms);
    }
    expect_error(reply, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    assert_string_equal(reply->error->limit, "quota.clients_per_user");
    assert_int_equal(call(fd, make_lease(1, 1))->body_case, HAKMEM__REPLY__BODY_LEASE);
    conn_close_fds(fds, n_fds);
    close(fd);
    close(other);
    close(third);
}

static void test_socket_file(void **state)
{
    (void)state;
    struct server *server;
    char d[96];
    settings.log_level = LOG_LEVEL_ERROR;
    start_daemon();
    struct stat status;
    assert_int_equal(stat(socket_path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0666);
    /* Alive: refused. */
    assert_int_equal(server_new(&settings, reload, NULL, &server), -EADDRINUSE);
    int fd = dial();
    call(fd, make_ping());
    close(fd);
    /* Dead: replaced. */
    kill(daemon_pid, SIGKILL);
    waitpid(daemon_pid, NULL, 0);
    assert_int_equal(access(socket_path, F_OK), 0);
    start_daemon();
    fd = dial();
    call(fd, make_ping());
    close(fd);
    assert_int_equal(stop_daemon(), 0);
    /* Not a socket: left alone. */
    snprintf(d, sizeof(d), "%s/d", folder);
    mkdir(d, 0755);
    close(open(socket_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(server_new(&settings, reload, NULL, &server), -EEXIST);
    assert_int_equal(unlink(socket_path), 0);
}

/* Many connections, no requests: each costs its descriptors, and all come back. */
static void test_connections_beyond_the_limit(void **state)
{
    (void)state;
    settings.quota.defaults.clients_per_user = 4; /* and 64 connections besides */
    start_daemon();
    int many[80];
    unsigned n_refused = 0;
    for (int i = 0; i < 80; i++)
        many[i] = dial();
    for (int i = 0; i < 80; i++) {
        struct pollfd readable = {.fd = many[i], .events = POLLIN};
        if (i >= 68) {
            expect_error(receive(many[i]), HAKMEM__ERROR_CODE__ERROR_QUOTA);
            assert_null(receive(many[i]));
            n_refused++;
        } else {
            assert_int_equal(poll(&readable, 1, 0), 0);
        }
    }
    assert_int_equal(n_refused, 12);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(call(many[i], make_hello(1, 0))->body_case, HAKMEM__REPLY__BODY_HELLO);
        conn_close_fds(fds, n_fds);
    }
    expect_error(call(many[4], make_hello(1, 0)), HAKMEM__ERROR_CODE__ERROR_QUOTA);
    for (int i = 0; i < 80; i++)
        close(many[i]);
    int fd = dial();
    stats_wait(fd, stats->clients == 0);
    close(fd);
}

#define daemon_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        daemon_test(test_hello_and_lease),
        daemon_test(test_order_of_requests),
        daemon_test(test_values_out_of_range),
        daemon_test(test_malformed),
        daemon_test(test_one_packet_of_descriptors_in_flight),
        daemon_test(test_peer_that_does_not_read),
        daemon_test(test_rate),
        daemon_test(test_orders_need_the_right),
        daemon_test(test_killed_client),
        daemon_test(test_exit_is_seen_past_copies),
        daemon_test(test_sighup),
        daemon_test(test_socket_file),
        daemon_test(test_connections_beyond_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
