/*
 * The link against a fake daemon on a real socket: what a correct daemon does, what a slow, dying,
 * broken or hostile one does, and what the program does to the link's descriptor. The fake is
 * driven inline: a lease asked for without waiting returns at once, the fake answers, the link
 * collects. Only the tests of waiting need a thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/superslab.h"
#include "libclient/link.h"
#include "proto/wire.h"

#define WAIT_US      2000
#define N_SLOTS      64
#define SEALS_ALL    (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define PATIENCE_MS  5000
#define LEAK_ROUNDS  10
#define ERRNO_MARKER 4711

struct fake {
    char dir[64];
    char path[96];
    int listener;
    int peer; /* the connection accepted last, or -1 */
};

static struct link_extent extents[CONN_MAX_FDS];
static size_t n_extents;

/* ---- the fake daemon ---- */

static void fake_listen(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unlink(fake->path);
    memcpy(address.sun_path, fake->path, strlen(fake->path) + 1);
    fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(fake->listener >= 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 8), 0);
}

static void fake_wait_readable(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    int r;
    do {
        r = poll(&wanted, 1, PATIENCE_MS);
    } while (r < 0 && errno == EINTR);
    assert_int_equal(r, 1);
}

static void fake_hang_up(struct fake *fake)
{
    if (fake->peer >= 0)
        close(fake->peer);
    fake->peer = -1;
}

static void fake_accept(struct fake *fake)
{
    fake_hang_up(fake);
    fake_wait_readable(fake->listener);
    fake->peer = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fake->peer >= 0);
}

/* The next request; valid until the next call. */
static Hakmem__Request *fake_read(struct fake *fake)
{
    static unsigned char packet[CONN_REQUEST_MAX_BYTES];
    static _Alignas(max_align_t) unsigned char bytes[CONN_REQUEST_MAX_BYTES * 4];
    static struct wire_arena arena;
    Hakmem__Request *request;
    int fds[CONN_MAX_FDS];
    size_t n_bytes = 0, n_fds = 0;

    arena = (struct wire_arena){.bytes = bytes, .capacity = sizeof(bytes)};
    fake_wait_readable(fake->peer);
    assert_int_equal(conn_recv(fake->peer, packet, sizeof(packet), &n_bytes, fds, &n_fds), 0);
    assert_int_equal(n_fds, 0);
    assert_int_equal(wire_unpack_request(&arena, packet, n_bytes, &request), 0);
    return request;
}

/* Sends the reply and closes the descriptors. */
static void fake_send(struct fake *fake, const Hakmem__Reply *reply, int *fds, size_t n_fds)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;
    assert_int_equal(wire_pack_reply(reply, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(conn_send(fake->peer, packet, n_bytes, fds, n_fds), 0);
    conn_close_fds(fds, n_fds);
}

static int memfd_new(size_t n_bytes, int seals)
{
    int fd = memfd_create("test-link", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)n_bytes), 0);
    if (seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* What the fake says of an extent, and what the descriptor that it sends really is. */
struct extent_spec {
    uint64_t id;
    uint32_t n_slabs;
    uint32_t first_slot;
    uint32_t huge_slabs;
    size_t real_bytes;
    int seals;
};

/* A reply that brings extents; the tests spoil a good one. */
struct grant_spec {
    uint32_t version;
    uint32_t ledger_slots;
    size_t ledger_real_bytes;
    int ledger_seals;
    uint32_t magic;
    uint32_t abi_version;
    uint32_t n_slots;
    bool ledger_is_pipe;
    size_t n_extents;
    struct extent_spec extents[CONN_MAX_FDS];
    size_t n_fds_missing;
    size_t n_fds_extra;
    uint64_t id_offset;
};

static struct grant_spec grant_good(size_t n)
{
    struct grant_spec spec = {.version = 1,
                              .ledger_slots = N_SLOTS,
                              .ledger_real_bytes = ledger_bytes(N_SLOTS),
                              .ledger_seals = SEALS_ALL,
                              .magic = LEDGER_MAGIC,
                              .abi_version = LEDGER_ABI_VERSION,
                              .n_slots = N_SLOTS,
                              .n_extents = n};
    for (size_t i = 0; i < n; i++)
        spec.extents[i] = (struct extent_spec){.id = 100 + i,
                                               .n_slabs = 2,
                                               .first_slot = (uint32_t)i * 2,
                                               .huge_slabs = 1,
                                               .real_bytes = 2 * SUPERSLAB_BYTES,
                                               .seals = SEALS_ALL};
    return spec;
}

static int ledger_fd_new(const struct grant_spec *spec)
{
    if (spec->ledger_is_pipe) {
        int ends[2];
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        close(ends[1]);
        return ends[0];
    }
    int fd = memfd_new(spec->ledger_real_bytes, 0);
    struct ledger header = {.magic = spec->magic,
                            .abi_version = spec->abi_version,
                            .n_slots = spec->n_slots,
                            .daemon_epoch = 7};
    assert_int_equal(pwrite(fd, &header, 64, 0), 64);
    assert_int_equal(ftruncate(fd, (off_t)spec->ledger_real_bytes), 0);
    if (spec->ledger_seals)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, spec->ledger_seals), 0);
    return fd;
}

/* Sends the grant as a reply to request `id`: a HelloReply or a LeaseReply. */
static void fake_grant(struct fake *fake, uint64_t id, bool is_hello, const struct grant_spec *spec)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__HelloReply hello = HAKMEM__HELLO_REPLY__INIT;
    Hakmem__LeaseReply lease = HAKMEM__LEASE_REPLY__INIT;
    Hakmem__Extent messages[CONN_MAX_FDS];
    Hakmem__Extent *list[CONN_MAX_FDS];
    int fds[2 * CONN_MAX_FDS];
    size_t n_fds = 0;

    if (is_hello)
        fds[n_fds++] = ledger_fd_new(spec);
    for (size_t i = 0; i < spec->n_extents; i++) {
        const struct extent_spec *extent = &spec->extents[i];
        hakmem__extent__init(&messages[i]);
        messages[i].id = extent->id;
        messages[i].n_slabs = extent->n_slabs;
        messages[i].first_slot = extent->first_slot;
        messages[i].huge_slabs = extent->huge_slabs;
        list[i] = &messages[i];
        fds[n_fds++] = memfd_new(extent->real_bytes, extent->seals);
    }
    for (size_t i = 0; i < spec->n_fds_missing; i++)
        close(fds[--n_fds]);
    for (size_t i = 0; i < spec->n_fds_extra; i++)
        fds[n_fds++] = memfd_new(SUPERSLAB_BYTES, SEALS_ALL);

    hello.version = spec->version;
    hello.ledger_slots = spec->ledger_slots;
    hello.n_extents = lease.n_extents = spec->n_extents;
    hello.extents = lease.extents = list;
    reply.id = id + spec->id_offset;
    reply.body_case = is_hello ? HAKMEM__REPLY__BODY_HELLO : HAKMEM__REPLY__BODY_LEASE;
    if (is_hello)
        reply.hello = &hello;
    else
        reply.lease = &lease;
    fake_send(fake, &reply, fds, n_fds);
}

static void fake_refuse(struct fake *fake, uint64_t id, Hakmem__ErrorCode code)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    error.code = code;
    error.message = "no";
    error.limit = "quota.bytes_per_user";
    reply.id = id;
    reply.body_case = HAKMEM__REPLY__BODY_ERROR;
    reply.error = &error;
    fake_send(fake, &reply, NULL, 0);
}

static void fake_accept_return(struct fake *fake, uint64_t id, uint32_t n_accepted)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__ReturnReply body = HAKMEM__RETURN_REPLY__INIT;
    body.n_accepted = n_accepted;
    reply.id = id;
    reply.body_case = HAKMEM__REPLY__BODY_RETURN_EXTENTS;
    reply.return_extents = &body;
    fake_send(fake, &reply, NULL, 0);
}

/* The link hung up: end of file, after whatever it had still sent. */
static void fake_expect_hang_up(struct fake *fake)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    int fds[CONN_MAX_FDS];
    size_t n_bytes, n_fds;
    int r;
    do {
        fake_wait_readable(fake->peer);
        r = conn_recv(fake->peer, packet, sizeof(packet), &n_bytes, fds, &n_fds);
    } while (r == 0);
    assert_true(r == CONN_CLOSED || r == -ECONNRESET);
}

/* ---- the link's side ---- */

static int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static enum link_result lease(uint32_t n_slabs, uint32_t run_slabs, bool wait)
{
    n_extents = 0;
    errno = ERRNO_MARKER;
    enum link_result result = link_lease(n_slabs, run_slabs, wait, extents, &n_extents);
    assert_int_equal(errno, ERRNO_MARKER);
    return result;
}

static enum link_result collect(void)
{
    n_extents = 0;
    errno = ERRNO_MARKER;
    enum link_result result = link_collect(extents, &n_extents);
    assert_int_equal(errno, ERRNO_MARKER);
    return result;
}

static void drop_extents(void)
{
    for (size_t i = 0; i < n_extents; i++)
        assert_int_equal(close(extents[i].fd), 0);
    n_extents = 0;
}

/* Asks until the back-off lets the request out. */
static void lease_when_allowed(void)
{
    uint64_t deadline = clock_ns() + PATIENCE_MS * 1000000ull;
    while (lease(2, 1, false) != LINK_PENDING) {
        assert_true(clock_ns() < deadline);
        poll(NULL, 0, 1); /* the back-off is time itself: there is no event to wait for */
    }
}

/* A connection in force, its first extents received and dropped. */
static void connect_good(struct fake *fake)
{
    struct grant_spec spec = grant_good(1);
    lease_when_allowed();
    fake_accept(fake);
    uint64_t id = fake_read(fake)->id;
    fake_grant(fake, id, true, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    assert_int_equal(n_extents, 1);
    drop_extents();
}

/* ---- tests: a correct daemon ---- */

static void test_hello_brings_extents(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(3);
    uint32_t generation = link_generation();

    link_set_held_bytes(12345);
    assert_null(link_ledger());
    assert_int_equal(lease(6, 2, false), LINK_PENDING);
    assert_true(link_is_pending());
    fake_accept(fake);
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_HELLO);
    assert_int_equal(request->hello->version_min, 1);
    assert_int_equal(request->hello->want_slabs, 6);
    assert_int_equal(request->hello->held_bytes, 12345);
    assert_int_equal(collect(), LINK_PENDING);
    fake_grant(fake, request->id, true, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    assert_false(link_is_pending());
    assert_int_equal(n_extents, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(extents[i].id, 100 + i);
        assert_int_equal(extents[i].n_slabs, 2);
        assert_int_equal(extents[i].first_slot, i * 2);
        assert_int_equal(extents[i].huge_slabs, 1);
        assert_int_equal(fcntl(extents[i].fd, F_GETFD), FD_CLOEXEC);
    }
    drop_extents();
    assert_int_equal(link_generation(), generation + 1);
    assert_int_equal(link_ledger()->n_slots, N_SLOTS);
    assert_int_equal(link_counters()->connects, 1);
    assert_int_equal(link_counters()->leases, 3);
    assert_true(link_counters()->syscalls > 0);
}

static void test_hello_without_extents_asks_on(void **state)
{
    struct fake *fake = *state;
    struct grant_spec none = grant_good(0), some = grant_good(2);
    assert_int_equal(lease(4, 2, false), LINK_PENDING);
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, &none);
    assert_int_equal(collect(), LINK_PENDING);
    assert_true(link_is_pending());
    assert_non_null(link_ledger());
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_LEASE);
    assert_int_equal(request->lease->n_slabs, 4);
    assert_int_equal(request->lease->run_slabs, 2);
    fake_grant(fake, request->id, false, &some);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
}

static void test_pending_is_not_doubled(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    connect_good(fake);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    uint64_t id = fake_read(fake)->id;
    for (int i = 0; i < 5; i++)
        assert_int_equal(lease(2, 1, i % 2), LINK_PENDING);
    fake_grant(fake, id, false, &spec);
    assert_int_equal(lease(2, 1, false), LINK_GRANTED);
    drop_extents();
    /* Nothing more was sent: the next request is the Return. */
    uint64_t ids[] = {100, 101};
    link_return(ids, 2);
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_RETURN_EXTENTS);
    assert_int_equal(request->id, id + 1);
}

static void test_returns_and_leases_interleave(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    uint64_t ids[64];
    for (size_t i = 0; i < 64; i++)
        ids[i] = UINT64_MAX - i;
    connect_good(fake);
    for (int round = 0; round < 20; round++) {
        errno = ERRNO_MARKER;
        link_return(ids, 64);
        assert_int_equal(errno, ERRNO_MARKER);
        assert_int_equal(lease(2, 1, false), LINK_PENDING);
        link_return(ids, 1);
        Hakmem__Request *request = fake_read(fake);
        assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_RETURN_EXTENTS);
        assert_int_equal(request->return_extents->n_extent_ids, 64);
        assert_true(request->return_extents->extent_ids[63] == UINT64_MAX - 63);
        fake_accept_return(fake, request->id, 64);
        fake_grant(fake, fake_read(fake)->id, false, &spec);
        fake_accept_return(fake, fake_read(fake)->id, 1);
        assert_int_equal(collect(), LINK_GRANTED);
        drop_extents();
    }
    assert_int_equal(link_counters()->losses, 0);
}

static void test_pressure(void **state)
{
    struct fake *fake = *state;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
    connect_good(fake);
    link_ledger()->pressure = LEDGER_PRESSURE_CRITICAL;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_CRITICAL);
    link_ledger()->pressure = 77;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
    link_ledger()->pressure = LEDGER_PRESSURE_SOME;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_SOME);
    fake_hang_up(fake);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
}

/* ---- tests: waiting ---- */

static void *answer_hello_and_lease(void *argument)
{
    struct fake *fake = argument;
    struct grant_spec spec = grant_good(2);
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, &spec);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    return NULL;
}

static void test_waits_for_the_answer(void **state)
{
    struct fake *fake = *state;
    pthread_t thread;
    /* Long enough that only a lost wake-up makes it run out. */
    link_init(fake->path, true, PATIENCE_MS * 1000);
    assert_int_equal(pthread_create(&thread, NULL, answer_hello_and_lease, fake), 0);
    assert_int_equal(lease(4, 1, true), LINK_GRANTED);
    drop_extents();
    assert_int_equal(lease(4, 1, true), LINK_GRANTED);
    drop_extents();
    pthread_join(thread, NULL);
    assert_int_equal(link_counters()->timeouts, 0);
}

static void test_wait_is_bounded_and_late_replies_are_collected(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    for (int is_hello = 1; is_hello >= 0; is_hello--) {
        uint64_t started = clock_ns();
        assert_int_equal(lease(2, 1, true), LINK_PENDING);
        uint64_t elapsed = clock_ns() - started;
        assert_true(elapsed >= WAIT_US * 1000ull);
        assert_true(elapsed < WAIT_US * 1000ull * 50);
        assert_int_equal(link_counters()->timeouts, 2 - is_hello);
        /* It was waited for once; a stopped daemon does not cost the bound at each call. */
        uint64_t syscalls = link_counters()->syscalls;
        assert_int_equal(lease(2, 1, true), LINK_PENDING);
        assert_int_equal(link_counters()->timeouts, 2 - is_hello);
        assert_true(link_counters()->syscalls - syscalls <= 2);
        if (is_hello)
            fake_accept(fake);
        fake_grant(fake, fake_read(fake)->id, is_hello, &spec);
        assert_int_equal(collect(), LINK_GRANTED);
        drop_extents();
    }
    assert_int_equal(link_counters()->losses, 0);
    assert_int_equal(link_counters()->connect_fails, 0);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

static void test_signals_do_not_prolong_the_wait(void **state)
{
    struct fake *fake = *state;
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval often = {.it_interval.tv_usec = 500, .it_value.tv_usec = 500}, never = {0};
    connect_good(fake);
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    uint64_t started = clock_ns();
    enum link_result result = lease(2, 1, true);
    uint64_t elapsed = clock_ns() - started;
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(result, LINK_PENDING);
    assert_true(elapsed >= WAIT_US * 1000ull);
    assert_true(elapsed < WAIT_US * 1000ull * 50);
}

static void *lease_while_cancelled(void *argument)
{
    int *finished = argument;
    pthread_cancel(pthread_self());
    /* Each of these makes calls that are cancellation points. */
    (void)lease(2, 1, true);
    (void)collect();
    uint64_t id = 1;
    link_return(&id, 1);
    *finished = 1;
    pthread_testcancel();
    *finished = 2;
    return NULL;
}

static void test_is_no_cancellation_point(void **state)
{
    struct fake *fake = *state;
    pthread_t thread;
    void *result;
    int finished = 0;
    connect_good(fake);
    assert_int_equal(pthread_create(&thread, NULL, lease_while_cancelled, &finished), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal(finished, 1);
    assert_ptr_equal(result, PTHREAD_CANCELED);
}

/* ---- tests: refusal, absence, loss ---- */

static void test_refusal_backs_off(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    connect_good(fake);
    assert_int_equal(lease(8, 4, false), LINK_PENDING);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    assert_int_equal(collect(), LINK_REFUSED);
    assert_false(link_is_pending());
    assert_non_null(link_ledger());
    assert_int_equal(link_counters()->refusals, 1);
    uint64_t syscalls = link_counters()->syscalls;
    assert_int_equal(lease(8, 4, true), LINK_REFUSED);
    assert_int_equal(lease(16, 16, true), LINK_REFUSED);
    assert_int_equal(link_counters()->syscalls, syscalls);
    assert_int_equal(link_counters()->refusals, 1);
    /* A shorter run than the one refused may well be there. */
    assert_int_equal(lease(8, 2, false), LINK_PENDING);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_NO_MEMORY);
    assert_int_equal(collect(), LINK_REFUSED);
    assert_int_equal(lease(8, 2, true), LINK_REFUSED);
    /* A grant clears the back-off. */
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
    assert_int_equal(lease(8, 4, false), LINK_PENDING);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_BUSY);
    assert_int_equal(collect(), LINK_REFUSED);
    /* And it ends by itself. */
    uint64_t started = clock_ns();
    while (lease(2, 4, false) != LINK_PENDING)
        assert_true(clock_ns() - started < PATIENCE_MS * 1000000ull);
    spec.extents[0].n_slabs = 4;
    spec.extents[0].real_bytes = 4 * SUPERSLAB_BYTES;
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
}

static void test_refused_hello(void **state)
{
    struct fake *fake = *state;
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_accept(fake);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    assert_int_equal(collect(), LINK_REFUSED);
    assert_int_equal(link_descriptor(), -1);
    assert_int_equal(link_counters()->refusals, 1);
    fake_expect_hang_up(fake);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
}

static void test_nobody_there(void **state)
{
    struct fake *fake = *state;
    int before = open_descriptors();
    link_init("/nonexistent/hakmemd.sock", true, WAIT_US);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(link_counters()->connect_fails, 1);
    uint64_t syscalls = link_counters()->syscalls;
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(link_counters()->syscalls, syscalls);
    assert_int_equal(link_counters()->connect_fails, 1);

    /* A socket whose owner has died. */
    close(fake->listener);
    link_init(fake->path, true, WAIT_US);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(open_descriptors(), before - 1);
    fake_listen(fake);
    connect_good(fake);
}

static void test_disabled(void **state)
{
    struct fake *fake = *state;
    uint64_t id = 1;
    link_init(fake->path, false, WAIT_US);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(collect(), LINK_ABSENT);
    link_return(&id, 1);
    assert_int_equal(link_counters()->syscalls, 0);
}

static void test_loss_and_new_daemon(void **state)
{
    struct fake *fake = *state;
    struct ledger *ledgers[6];
    uint64_t id = 1;
    for (size_t i = 0; i < 6; i++) {
        connect_good(fake);
        ledgers[i] = link_ledger();
        ledgers[i]->slots[3] = 0x101;
        uint32_t generation = link_generation();
        close(fake->listener);
        fake_hang_up(fake);
        fake_listen(fake);
        if (i % 2)
            link_return(&id, 1);
        else
            assert_int_equal(lease(2, 1, true), LINK_ABSENT);
        assert_null(link_ledger());
        assert_int_not_equal(link_generation(), generation);
        assert_int_equal(link_descriptor(), -1);
        assert_int_equal(link_counters()->losses, i + 1);
        assert_int_equal(link_counters()->connects, i + 1);
    }
    /* Late readers find memory, stale for a while, then empty. */
    assert_int_equal(ledgers[5]->slots[3], 0x101);
    assert_int_equal(ledgers[2]->slots[3], 0x101);
    assert_int_equal(ledgers[0]->slots[3], 0);
    ledgers[0]->slots[3] = 1;
}

static void test_loss_while_pending(void **state)
{
    struct fake *fake = *state;
    connect_good(fake);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_hang_up(fake);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_false(link_is_pending());
    assert_int_equal(link_counters()->losses, 1);
    connect_good(fake);
}

/* A daemon that reads nothing: the link gives it up rather than wait, and nothing blocks. */
static void test_daemon_that_never_reads(void **state)
{
    struct fake *fake = *state;
    uint64_t ids[64] = {0};
    connect_good(fake);
    for (int i = 0; i < 100000 && link_ledger(); i++)
        link_return(ids, 64);
    assert_null(link_ledger());
    assert_int_equal(link_counters()->losses, 1);
}

/* ---- tests: a broken or hostile daemon ---- */

static void spoil_version(struct grant_spec *spec)
{
    spec->version = 2;
}
static void spoil_version_zero(struct grant_spec *spec)
{
    spec->version = 0;
}
static void spoil_magic(struct grant_spec *spec)
{
    spec->magic++;
}
static void spoil_abi(struct grant_spec *spec)
{
    spec->abi_version++;
}
static void spoil_slots_differ(struct grant_spec *spec)
{
    spec->n_slots--;
}
static void spoil_ledger_short(struct grant_spec *spec)
{
    spec->ledger_real_bytes = 4096 - 1;
    spec->ledger_slots = spec->n_slots = 4096;
}
static void spoil_ledger_empty(struct grant_spec *spec)
{
    spec->ledger_slots = spec->n_slots = 0;
    spec->n_extents = 0;
}
static void spoil_ledger_huge(struct grant_spec *spec)
{
    spec->ledger_slots = spec->n_slots = UINT32_MAX;
    spec->ledger_real_bytes = ledger_bytes(UINT32_MAX);
}
static void spoil_ledger_unsealed(struct grant_spec *spec)
{
    spec->ledger_seals = 0;
}
static void spoil_ledger_read_only(struct grant_spec *spec)
{
    spec->ledger_seals |= F_SEAL_FUTURE_WRITE;
}
static void spoil_ledger_pipe(struct grant_spec *spec)
{
    spec->ledger_is_pipe = true;
}
static void spoil_ledger_alone(struct grant_spec *spec)
{
    spec->n_fds_missing = spec->n_extents;
}
static void spoil_missing_fd(struct grant_spec *spec)
{
    spec->n_fds_missing = 1;
}
static void spoil_extra_fd(struct grant_spec *spec)
{
    spec->n_fds_extra = 1;
}
static void spoil_unsealed(struct grant_spec *spec)
{
    spec->extents[1].seals = F_SEAL_GROW;
}
static void spoil_short(struct grant_spec *spec)
{
    spec->extents[1].real_bytes -= 4096;
}
static void spoil_long(struct grant_spec *spec)
{
    spec->extents[0].real_bytes += 4096;
}
static void spoil_slot(struct grant_spec *spec)
{
    spec->extents[1].first_slot = N_SLOTS - 1;
}
static void spoil_slot_wraps(struct grant_spec *spec)
{
    spec->extents[1].first_slot = UINT32_MAX;
}
static void spoil_slots_overlap(struct grant_spec *spec)
{
    spec->extents[1].first_slot = spec->extents[0].first_slot + 1;
}
static void spoil_same_id(struct grant_spec *spec)
{
    spec->extents[1].id = spec->extents[0].id;
}
static void spoil_three_slabs(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 3;
    spec->extents[0].real_bytes = 3 * SUPERSLAB_BYTES;
}
static void spoil_no_slabs(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 0;
    spec->extents[0].huge_slabs = 0;
    spec->extents[0].real_bytes = 0;
}
static void spoil_many_slabs(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 32;
    spec->extents[0].real_bytes = 32 * SUPERSLAB_BYTES;
}
static void spoil_huge_slabs(struct grant_spec *spec)
{
    spec->extents[0].huge_slabs = 3;
}
static void spoil_id(struct grant_spec *spec)
{
    spec->id_offset = 1;
}
static void spoil_id_behind(struct grant_spec *spec)
{
    spec->id_offset = UINT64_MAX;
}
static void spoil_short_run(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 1;
    spec->extents[0].real_bytes = SUPERSLAB_BYTES;
}
static void spoil_nothing_granted(struct grant_spec *spec)
{
    spec->n_extents = 0;
}

struct spoiler {
    void (*spoil)(struct grant_spec *spec);
    bool in_hello;
    bool in_lease;
};

static const struct spoiler spoilers[] = {
    {spoil_version, true, false},
    {spoil_version_zero, true, false},
    {spoil_magic, true, false},
    {spoil_abi, true, false},
    {spoil_slots_differ, true, false},
    {spoil_ledger_short, true, false},
    {spoil_ledger_empty, true, false},
    {spoil_ledger_huge, true, false},
    {spoil_ledger_unsealed, true, false},
    {spoil_ledger_read_only, true, false},
    {spoil_ledger_pipe, true, false},
    {spoil_ledger_alone, true, false},
    {spoil_missing_fd, true, true},
    {spoil_extra_fd, true, true},
    {spoil_unsealed, true, true},
    {spoil_short, true, true},
    {spoil_long, true, true},
    {spoil_slot, true, true},
    {spoil_slot_wraps, true, true},
    {spoil_slots_overlap, true, true},
    {spoil_same_id, true, true},
    {spoil_three_slabs, true, true},
    {spoil_no_slabs, true, true},
    {spoil_many_slabs, true, true},
    {spoil_huge_slabs, true, true},
    {spoil_id, true, true},
    {spoil_id_behind, true, true},
    {spoil_short_run, false, true},
    {spoil_nothing_granted, false, true},
};
#define N_SPOILERS (sizeof(spoilers) / sizeof(spoilers[0]))

/* The link dropped the connection, kept nothing of what came, and backs off. */
static void expect_dropped(struct fake *fake, bool was_connected)
{
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(n_extents, 0);
    assert_null(link_ledger());
    assert_int_equal(link_descriptor(), -1);
    assert_int_equal(link_counters()->losses, was_connected);
    assert_int_equal(link_counters()->connect_fails, !was_connected);
    uint64_t syscalls = link_counters()->syscalls;
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(link_counters()->syscalls, syscalls);
    fake_expect_hang_up(fake);
    fake_hang_up(fake);
}

static void spoiled_hello(struct fake *fake, const struct spoiler *spoiler)
{
    struct grant_spec spec = grant_good(2);
    link_init(fake->path, true, WAIT_US);
    spoiler->spoil(&spec);
    assert_int_equal(lease(4, 1, false), LINK_PENDING);
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, &spec);
    expect_dropped(fake, false);
}

static void spoiled_lease(struct fake *fake, const struct spoiler *spoiler)
{
    struct grant_spec spec = grant_good(2);
    link_init(fake->path, true, WAIT_US);
    connect_good(fake);
    spoiler->spoil(&spec);
    assert_int_equal(lease(4, 2, false), LINK_PENDING);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    expect_dropped(fake, true);
}

static void test_spoiled_grants(void **state)
{
    struct fake *fake = *state;
    int before = open_descriptors();
    for (int round = 0; round < LEAK_ROUNDS; round++) {
        for (size_t i = 0; i < N_SPOILERS; i++) {
            if (spoilers[i].in_hello)
                spoiled_hello(fake, &spoilers[i]);
            if (spoilers[i].in_lease)
                spoiled_lease(fake, &spoilers[i]);
        }
    }
    assert_int_equal(open_descriptors(), before);
    link_init(fake->path, true, WAIT_US);
    connect_good(fake); /* and a good one is still accepted */
}

/* Sends what is no answer to request `id`, which is a Lease (kinds 0 to 6) or does not exist. */
static void send_wrong_reply(struct fake *fake, int kind, uint64_t id)
{
    struct grant_spec spec = grant_good(1);
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    Hakmem__ReturnReply body = HAKMEM__RETURN_REPLY__INIT;
    int fd;

    reply.id = id;
    switch (kind) {
    case 0: /* a second Hello reply */
        fake_grant(fake, id, true, &spec);
        break;
    case 1: /* a Return's reply to a Lease */
        fake_accept_return(fake, id, 1);
        break;
    case 2: /* an error that says the connection is over */
        fake_refuse(fake, id, HAKMEM__ERROR_CODE__ERROR_STATE);
        break;
    case 3: /* an error that carries a descriptor */
        fd = memfd_new(SUPERSLAB_BYTES, SEALS_ALL);
        error.code = HAKMEM__ERROR_CODE__ERROR_QUOTA;
        reply.body_case = HAKMEM__REPLY__BODY_ERROR;
        reply.error = &error;
        fake_send(fake, &reply, &fd, 1);
        break;
    case 4: /* no body */
        fake_send(fake, &reply, NULL, 0);
        break;
    case 5: /* out of order: before the reply to the Return sent earlier */
        fake_grant(fake, id, false, &spec);
        break;
    case 6: /* the Return's reply, with a descriptor */
        fd = memfd_new(SUPERSLAB_BYTES, SEALS_ALL);
        reply.id = id - 1;
        reply.body_case = HAKMEM__REPLY__BODY_RETURN_EXTENTS;
        reply.return_extents = &body;
        fake_send(fake, &reply, &fd, 1);
        break;
    case 7: /* nobody asked */
        fake_accept_return(fake, id, 1);
        break;
    case 8:
        fake_grant(fake, id, false, &spec);
        break;
    }
}

static void test_wrong_kinds_of_reply(void **state)
{
    struct fake *fake = *state;
    for (int kind = 0; kind < 9; kind++) {
        uint64_t id = 2, returned = 1;
        link_init(fake->path, true, WAIT_US);
        connect_good(fake);
        if (kind == 5 || kind == 6) {
            link_return(&returned, 1);
            (void)fake_read(fake);
        }
        if (kind < 7) {
            assert_int_equal(lease(2, 1, false), LINK_PENDING);
            id = fake_read(fake)->id;
        }
        send_wrong_reply(fake, kind, id);
        expect_dropped(fake, true);
    }
}

/* Noise, cut-off replies, packets too big, each with a descriptor: none may crash, hang, or leak.
 */
static void test_garbage(void **state)
{
    struct fake *fake = *state;
    static unsigned char packet[CONN_REPLY_MAX_BYTES + 1];
    unsigned seed = 42;
    int before = open_descriptors();
    for (int round = 0; round < 200; round++) {
        bool was_connected = round % 2;
        size_t n_bytes = round < 190 ? 1 + (size_t)rand_r(&seed) % 300 : CONN_REPLY_MAX_BYTES + 1;
        for (size_t i = 0; i < n_bytes; i++)
            packet[i] = (unsigned char)rand_r(&seed);
        if (round % 3 == 0) {
            /* A real reply, cut short or with one byte changed so that its length is wrong. */
            Hakmem__Reply reply = HAKMEM__REPLY__INIT;
            Hakmem__Error error = HAKMEM__ERROR__INIT;
            error.message = "a message long enough to be cut at many places";
            reply.id = was_connected ? 2 : 1;
            reply.body_case = HAKMEM__REPLY__BODY_ERROR;
            reply.error = &error;
            assert_int_equal(wire_pack_reply(&reply, packet, sizeof(packet), &n_bytes), 0);
            n_bytes -= 1 + (size_t)round % (n_bytes - 3);
        }
        link_init(fake->path, true, WAIT_US);
        if (was_connected)
            connect_good(fake);
        assert_int_equal(lease(2, 1, false), LINK_PENDING);
        if (!was_connected)
            fake_accept(fake);
        int fd = memfd_new(4096, 0);
        assert_int_equal(conn_send(fake->peer, packet, n_bytes, &fd, 1), 0);
        close(fd);
        expect_dropped(fake, was_connected);
    }
    assert_int_equal(open_descriptors(), before);
}

/* Many small fields expand to more memory than the arena has: refused, not overrun. */
static void test_reply_that_expands(void **state)
{
    struct fake *fake = *state;
    static unsigned char packet[60000];
    size_t n = 0;
    connect_good(fake);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    packet[n++] = 1 << 3; /* Reply.id = 2 */
    packet[n++] = 2;
    packet[n++] = 4 << 3 | 2; /* Reply.lease, of all the bytes that follow */
    size_t left = sizeof(packet) - n - 3;
    left -= left % 2;
    packet[n++] = (unsigned char)(left | 0x80);
    packet[n++] = (unsigned char)(left >> 7 | 0x80);
    packet[n++] = (unsigned char)(left >> 14);
    for (size_t i = 0; i < left; i += 2) {
        packet[n++] = 1 << 3 | 2; /* LeaseReply.extents, empty */
        packet[n++] = 0;
    }
    assert_int_equal(conn_send(fake->peer, packet, n, NULL, 0), 0);
    expect_dropped(fake, true);
}

/* ---- tests: the program and the descriptor ---- */

static void test_descriptor_is_high(void **state)
{
    struct fake *fake = *state;
    struct rlimit limit, lower;
    connect_good(fake);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t ceiling = limit.rlim_cur < 1024 ? limit.rlim_cur : 1024;
    assert_int_equal(link_descriptor(), ceiling - 1);
    assert_int_equal(fcntl(link_descriptor(), F_GETFD), FD_CLOEXEC);

    lower = limit;
    lower.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    int taken[2] = {fcntl(0, F_DUPFD, 63), fcntl(0, F_DUPFD, 62)};
    link_init(fake->path, true, WAIT_US);
    connect_good(fake);
    assert_true(link_descriptor() < 62 && link_descriptor() > 32);
    close(taken[0]);
    close(taken[1]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_out_of_descriptors(void **state)
{
    struct fake *fake = *state;
    struct rlimit limit, lower;
    struct grant_spec spec = grant_good(4);
    int before = open_descriptors();
    connect_good(fake);
    assert_int_equal(lease(8, 1, false), LINK_PENDING);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    lower = limit;
    int lowest = dup(0);
    close(lowest);
    lower.rlim_cur = (rlim_t)lowest + 2; /* room for two of the four */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(link_counters()->losses, 1);
    fake_expect_hang_up(fake);
    fake_hang_up(fake);
    assert_int_equal(open_descriptors(), before);
}

static void test_standard_descriptors_are_left_alone(void **state)
{
    struct fake *fake = *state;
    pid_t child = fork();
    if (child == 0) {
        link_after_fork_child();
        close(0);
        bool is_pending = lease(2, 1, false) == LINK_PENDING;
        if (!is_pending || link_descriptor() <= 2 || fcntl(0, F_GETFD) >= 0)
            _exit(1);
        /* Nothing but a standard one to be had: rather no connection. */
        struct rlimit tight = {.rlim_cur = 3, .rlim_max = 3};
        link_init(fake->path, true, WAIT_US);
        if (setrlimit(RLIMIT_NOFILE, &tight) < 0)
            _exit(2);
        _exit(lease(2, 1, false) == LINK_ABSENT && fcntl(0, F_GETFD) < 0 ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    fake_accept(fake);
}

/* The program took our number for a file of its own: nothing is written to it, and it stays open.
 */
static void stolen_descriptor(struct fake *fake, int when, bool is_reused)
{
    int ends[2];
    char byte;
    uint64_t id = 1;
    struct grant_spec spec = grant_good(1);

    link_init(fake->path, true, WAIT_US);
    connect_good(fake);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    if (when == 2) {
        assert_int_equal(lease(2, 1, false), LINK_PENDING);
        fake_grant(fake, fake_read(fake)->id, false, &spec);
    }
    int number = link_descriptor();
    close(number);
    if (is_reused)
        assert_int_equal(dup2(ends[0], number), number);
    switch (when) {
    case 0:
        assert_int_equal(lease(2, 1, true), LINK_ABSENT);
        break;
    case 1:
        link_return(&id, 1);
        break;
    case 2:
        assert_int_equal(lease(2, 1, true), LINK_ABSENT);
        break;
    }
    assert_int_equal(link_counters()->stolen_fds, 1);
    assert_int_equal(link_counters()->losses, 1);
    assert_int_equal(link_descriptor(), -1);
    assert_null(link_ledger());
    assert_int_equal(recv(ends[1], &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    if (is_reused) {
        assert_int_equal(send(number, "x", 1, 0), 1);
        assert_int_equal(recv(ends[1], &byte, 1, 0), 1);
        close(number);
    }
    close(ends[0]);
    close(ends[1]);
    fake_hang_up(fake);
    connect_good(fake);
    fake_hang_up(fake);
    link_init(fake->path, true, WAIT_US);
}

static void test_stolen_descriptor(void **state)
{
    int before = open_descriptors();
    for (int when = 0; when < 3; when++) {
        stolen_descriptor(*state, when, true);
        stolen_descriptor(*state, when, false);
    }
    assert_int_equal(open_descriptors(), before);
}

/* ---- tests: children ---- */

static int wait_for_exit(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* The parent's connection works on after whatever a child did. */
static void expect_connection_works(struct fake *fake)
{
    struct grant_spec spec = grant_good(1);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
    assert_int_equal(link_counters()->losses, 0);
    assert_int_equal(link_counters()->stolen_fds, 0);
}

/* Exit code of a child that forgot its parent's connection and asked for its own. */
static int child_begins_anew(struct ledger *parents_ledger, int parents_number)
{
    if (link_ledger() || link_descriptor() != -1 || link_is_pending())
        return 1;
    if (fcntl(parents_number, F_GETFD) >= 0)
        return 2;
    parents_ledger->slots[5] = 0x666; /* a late writer: must not reach the parent */
    return lease(2, 1, false) == LINK_PENDING ? 0 : 3;
}

static void test_fork_child(void **state)
{
    struct fake *fake = *state;
    for (int has_handlers = 0; has_handlers < 2; has_handlers++) {
        link_init(fake->path, true, WAIT_US);
        connect_good(fake);
        struct ledger *ledger = link_ledger();
        int number = link_descriptor();
        uint32_t generation = link_generation();
        /* Without handlers the child must find out by itself, at its first use of the link. */
        pid_t child = has_handlers ? fork() : _Fork();
        if (child == 0) {
            if (has_handlers)
                link_after_fork_child();
            else if (collect() != LINK_ABSENT)
                _exit(4);
            _exit(link_generation() == generation ? 5 : child_begins_anew(ledger, number));
        }
        assert_int_equal(wait_for_exit(child), 0);
        assert_int_equal(ledger->slots[5], 0);
        assert_ptr_equal(link_ledger(), ledger);
        expect_connection_works(fake);
        int parents_peer = fake->peer;
        fake->peer = -1;
        fake_accept(fake); /* the child's, which said Hello */
        assert_int_equal(fake_read(fake)->body_case, HAKMEM__REQUEST__BODY_HELLO);
        close(parents_peer);
    }
}

/* A vfork child shares our memory: what it does with the link it does for us. */
static void test_vfork_child(void **state)
{
    struct fake *fake = *state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it turns vfork into fork */
#endif
    connect_good(fake);
    struct ledger *ledger = link_ledger();
    pid_t child = vfork();
    if (child == 0) {
        (void)link_collect(extents, &n_extents);
        _exit(link_ledger() == ledger ? 0 : 1);
    }
    assert_int_equal(wait_for_exit(child), 0);
    assert_ptr_equal(link_ledger(), ledger);
    expect_connection_works(fake);
}

/* ---- */

static int setup(void **state)
{
    struct fake *fake = calloc(1, sizeof(*fake));
    if (!fake)
        return -1;
    snprintf(fake->dir, sizeof(fake->dir), "/tmp/test-link.XXXXXX");
    if (!mkdtemp(fake->dir))
        return -1;
    snprintf(fake->path, sizeof(fake->path), "%s/hakmemd.sock", fake->dir);
    fake->peer = -1;
    fake_listen(fake);
    link_init(fake->path, true, WAIT_US);
    *state = fake;
    return 0;
}

static int teardown(void **state)
{
    struct fake *fake = *state;
    fake_hang_up(fake);
    close(fake->listener);
    unlink(fake->path);
    rmdir(fake->dir);
    link_init(NULL, false, 0);
    free(fake);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_brings_extents),
        TEST(test_hello_without_extents_asks_on),
        TEST(test_pending_is_not_doubled),
        TEST(test_returns_and_leases_interleave),
        TEST(test_pressure),
        TEST(test_waits_for_the_answer),
        TEST(test_wait_is_bounded_and_late_replies_are_collected),
        TEST(test_signals_do_not_prolong_the_wait),
        TEST(test_is_no_cancellation_point),
        TEST(test_refusal_backs_off),
        TEST(test_refused_hello),
        TEST(test_nobody_there),
        TEST(test_disabled),
        TEST(test_loss_and_new_daemon),
        TEST(test_loss_while_pending),
        TEST(test_daemon_that_never_reads),
        TEST(test_spoiled_grants),
        TEST(test_wrong_kinds_of_reply),
        TEST(test_garbage),
        TEST(test_reply_that_expands),
        TEST(test_descriptor_is_high),
        TEST(test_out_of_descriptors),
        TEST(test_standard_descriptors_are_left_alone),
        TEST(test_stolen_descriptor),
        TEST(test_fork_child),
        TEST(test_vfork_child),
    };
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
