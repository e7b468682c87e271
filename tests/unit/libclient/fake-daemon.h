/*
 * The link against a fake daemon on a real socket: what a correct daemon does, what a slow, dying,
 * broken or hostile one does, and what the program does to the link's descriptor. The fake is
 * driven inline: a lease asked for without waiting returns at once, the fake answers, the link
 * collects. Only the tests of waiting need a thread.
 */
#ifndef HAKMEM_TESTS_UNIT_LIBCLIENT_FAKE_DAEMON_H
#define HAKMEM_TESTS_UNIT_LIBCLIENT_FAKE_DAEMON_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
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

static inline void fake_listen(struct fake *fake)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unlink(fake->path);
    memcpy(address.sun_path, fake->path, strlen(fake->path) + 1);
    fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_true(fake->listener >= 0);
    assert_int_equal(bind(fake->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fake->listener, 8), 0);
}

static inline void fake_wait_readable(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    int r;
    do {
        r = poll(&wanted, 1, PATIENCE_MS);
    } while (r < 0 && errno == EINTR);
    assert_int_equal(r, 1);
}

static inline void fake_hang_up(struct fake *fake)
{
    if (fake->peer >= 0)
        close(fake->peer);
    fake->peer = -1;
}

static inline void fake_accept(struct fake *fake)
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
static inline void fake_send(struct fake *fake, const Hakmem__Reply *reply, int *fds, size_t n_fds)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;
    assert_int_equal(wire_pack_reply(reply, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(conn_send(fake->peer, packet, n_bytes, fds, n_fds), 0);
    conn_close_fds(fds, n_fds);
}

static inline int memfd_new(size_t n_bytes, int seals)
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
    uint64_t client_id; /* 0: not one that outlives its daemon */
    size_t n_token_bytes;
    bool reattached;
};

static const unsigned char fake_token[17] = "sixteen bytes...";

static inline struct grant_spec grant_good(size_t n)
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

static inline int ledger_fd_new(const struct grant_spec *spec)
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
static inline void fake_grant(struct fake *fake, uint64_t id, bool is_hello,
                              const struct grant_spec *spec)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__HelloReply hello = HAKMEM__HELLO_REPLY__INIT;
    Hakmem__LeaseReply lease = HAKMEM__LEASE_REPLY__INIT;
    Hakmem__Extent messages[CONN_MAX_FDS];
    Hakmem__Extent *list[CONN_MAX_FDS];
    int fds[2 * CONN_MAX_FDS];
    size_t n_fds = 0;

    if (is_hello && !spec->reattached)
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
    hello.reattached = spec->reattached;
    hello.client_id = spec->client_id;
    hello.features = spec->client_id != 0;
    hello.reattach_token.data = (unsigned char *)fake_token;
    hello.reattach_token.len = spec->n_token_bytes;
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

static inline void fake_refuse(struct fake *fake, uint64_t id, Hakmem__ErrorCode code)
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

static inline void fake_accept_return(struct fake *fake, uint64_t id, uint32_t n_accepted)
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
static inline void fake_expect_hang_up(struct fake *fake)
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

static inline int open_descriptors(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline enum link_result lease(uint32_t n_slabs, uint32_t run_slabs, bool wait)
{
    n_extents = 0;
    errno = ERRNO_MARKER;
    enum link_result result = link_lease(n_slabs, run_slabs, wait, extents, &n_extents);
    assert_int_equal(errno, ERRNO_MARKER);
    return result;
}

static inline enum link_result collect(void)
{
    n_extents = 0;
    errno = ERRNO_MARKER;
    enum link_result result = link_collect(extents, &n_extents);
    assert_int_equal(errno, ERRNO_MARKER);
    return result;
}

static inline void drop_extents(void)
{
    for (size_t i = 0; i < n_extents; i++)
        assert_int_equal(close(extents[i].fd), 0);
    n_extents = 0;
}

/* Asks until the back-off lets the request out. */
static inline void lease_when_allowed(void)
{
    uint64_t deadline = clock_ns() + PATIENCE_MS * 1000000ull;
    while (lease(2, 1, false) != LINK_PENDING) {
        assert_true(clock_ns() < deadline);
        poll(NULL, 0, 1); /* the back-off is time itself: there is no event to wait for */
    }
}

/* A connection in force, its first extents received and dropped. */
static inline void connect_good(struct fake *fake)
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

/* ---- a fixture ---- */

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

#endif
