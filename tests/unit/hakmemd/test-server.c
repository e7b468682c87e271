/* The protocol's rules, against a raw client: order, values, packets, rates. */
#include "daemon.h"

#include <sys/ioctl.h>
#include <sys/resource.h>

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
    fd = dial(); /* with a descriptor, if the kernel lets it through */
    int r = conn_send(fd, junk, 1, &fd, 1);
    if (r == 0)
        assert_null(receive(fd));
    else
        assert_int_equal(r, -EPERM);
    close(fd);
    assert_int_equal(stats_by(watcher)->protocol_errors_total, r == 0 ? 3 : 2);
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

/* Nor is there ever more than one large answer unread, and of small ones, a bounded number. */
static void test_one_large_answer_in_flight(void **state)
{
    (void)state;
    enum { N_CLIENTS = 40 };
    static unsigned char packet[CONN_REPLY_MAX_BYTES];
    int clients[N_CLIENTS], n_unread, n_unread_later;
    start_daemon();
    int fd = dial(), watcher = dial();
    for (int i = 0; i < N_CLIENTS; i++) {
        clients[i] = dial();
        call(clients[i], make_hello(1, 0));
        conn_close_fds(fds, n_fds);
    }
    send_request(fd, make_clients_query());
    struct pollfd waits = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&waits, 1, FIXTURE_PATIENCE_MS), 1);
    assert_int_equal(ioctl(fd, FIONREAD, &n_unread), 0);
    send_request(fd, make_clients_query());
    send_request(fd, make_clients_query());
    for (int i = 0; i < 50; i++) /* the daemon has had its turns */
        stats_by(watcher);
    assert_int_equal(ioctl(fd, FIONREAD, &n_unread_later), 0);
    assert_int_equal(n_unread_later, n_unread);
    for (int i = 0; i < 3; i++)
        assert_int_equal(receive(fd)->clients->n_clients, N_CLIENTS);
    /* Of small ones as many as the kernel takes for a large one: it counts some 768 bytes for each.
     */
    int n_one;
    size_t n_bytes, n_sent = 0;
    send_request(fd, make_ping());
    assert_int_equal(poll(&waits, 1, FIXTURE_PATIENCE_MS), 1);
    assert_int_equal(ioctl(fd, FIONREAD, &n_one), 0);
    assert_int_equal(receive(fd)->id, 13);
    assert_int_equal(wire_pack_request(make_ping(), packet, sizeof(packet), &n_bytes), 0);
    while (n_sent < 1000 && conn_send(fd, packet, n_bytes, NULL, 0) == 0)
        n_sent++;
    for (int i = 0; i < 500; i++)
        stats_by(watcher);
    assert_int_equal(ioctl(fd, FIONREAD, &n_unread), 0);
    assert_true(n_sent > 160);
    assert_in_range(n_unread / n_one, 10, 150);
    for (int i = 0; i < N_CLIENTS; i++)
        close(clients[i]);
    close(fd);
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

/* Connections beyond what the user may have are paid for by its others. */
static void test_refused_connections_count(void **state)
{
    (void)state;
    unsigned char ping[CONN_REQUEST_MAX_BYTES];
    size_t n_ping_bytes, n_connected = 0;
    int others[128];
    settings.quota.defaults.clients_per_user = 0; /* 64 connections for control are left */
    settings.quota.defaults.requests_per_user = 100;
    start_daemon();
    int first = dial();
    assert_int_equal(wire_pack_request(make_ping(), ping, sizeof(ping), &n_ping_bytes), 0);
    for (bool is_refused = false; !is_refused; n_connected++) {
        int fd = others[n_connected] = dial();
        /* Refused: an error, or the daemon has hung up before it was asked. */
        (void)conn_send(fd, ping, n_ping_bytes, NULL, 0);
        Hakmem__Reply *reply = receive(fd);
        is_refused = !reply || reply->body_case == HAKMEM__REPLY__BODY_ERROR;
        assert_true(n_connected < 100);
    }
    /* So far they were less than two seconds may bring: nobody has had to wait. */
    assert_int_equal(stats_by(first)->throttled_total, 0);
    for (int i = 0; i < 600; i++) {
        int fd = dial();
        expect_error(receive(fd), HAKMEM__ERROR_CODE__ERROR_QUOTA);
        close(fd);
    }
    assert_true(stats_by(first)->throttled_total > 0);
    for (size_t i = 0; i < n_connected; i++)
        close(others[i]);
    close(first);
}

/* ---- an answer that cannot be sent at once ---- */

#define NOBODY          54321
#define DAEMON_N_FDS    300
#define FILLER_N_FDS    1024
#define FILLING_PACKETS (DAEMON_N_FDS / CONN_MAX_FDS + 1)

static void become_nobody_of_few_fds(void)
{
    struct rlimit limit = {DAEMON_N_FDS, DAEMON_N_FDS};
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || setuid(NOBODY) < 0)
        _exit(6);
}

/* Has more descriptors on their way than the kernel lets the daemon's user send any, until it ends.
 */
static pid_t start_filler(void)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {FILLER_N_FDS, FILLER_N_FDS};
        int ends[2], sent[CONN_MAX_FDS];
        for (size_t i = 0; i < CONN_MAX_FDS; i++)
            sent[i] = STDERR_FILENO;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || setuid(NOBODY) < 0 ||
            socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0)
            _exit(1);
        for (int i = 0; i < FILLING_PACKETS; i++)
            if (conn_send(ends[0], "", 1, sent, CONN_MAX_FDS) < 0)
                _exit(2);
        if (write(ready[1], &byte, 1) != 1)
            _exit(3);
        alarm(60); /* should the test fail before it ends us */
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static bool daemon_maps_a_ledger(void)
{
    char path[64], line[512];
    bool does = false;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)daemon_pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file))
        does |= strstr(line, "hakmem-ledger") != NULL;
    fclose(file);
    return does;
}

/* A Hello's answer that waits brings the ledger when it comes, though the daemon has mapped it
 * meanwhile and closed its file. */
static void test_ledger_that_waits(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chmod(folder, 0777), 0);
    become_daemon = become_nobody_of_few_fds;
    start_daemon();
    pid_t filler = start_filler();
    int fd = dial();
    send_request(fd, make_hello(1, 1));
    uint64_t deadline_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;
    while (!daemon_maps_a_ledger()) {
        usleep(2000);
        assert_true(clock_now_ms() < deadline_ms);
    }
    struct pollfd nothing = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&nothing, 1, 0), 0);
    kill(filler, SIGKILL);
    waitpid(filler, NULL, 0);
    Hakmem__Reply *reply = receive(fd);
    assert_non_null(reply);
    assert_int_equal(reply->body_case, HAKMEM__REPLY__BODY_HELLO);
    assert_int_equal(n_fds, 2);
    size_t n_bytes = ledger_bytes(reply->hello->ledger_slots);
    struct ledger *ledger = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    assert_ptr_not_equal(ledger, MAP_FAILED);
    assert_int_equal(ledger->magic, LEDGER_MAGIC);
    munmap(ledger, n_bytes);
    conn_close_fds(fds, n_fds);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        daemon_test(test_hello_and_lease),
        daemon_test(test_order_of_requests),
        daemon_test(test_values_out_of_range),
        daemon_test(test_malformed),
        daemon_test(test_one_packet_of_descriptors_in_flight),
        daemon_test(test_one_large_answer_in_flight),
        daemon_test(test_peer_that_does_not_read),
        daemon_test(test_rate),
        daemon_test(test_refused_connections_count),
        daemon_test(test_ledger_that_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
