/* Who may order what, clients that die, signals, the socket's file, too many connections. */
#include "daemon.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        daemon_test(test_orders_need_the_right),
        daemon_test(test_killed_client),
        daemon_test(test_exit_is_seen_past_copies),
        daemon_test(test_sighup),
        daemon_test(test_socket_file),
        daemon_test(test_connections_beyond_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
