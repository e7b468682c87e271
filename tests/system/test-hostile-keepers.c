/*
 * Clients that give memory back and keep something of it, that turn their rights in what they were
 * given against the daemon, that ask for absurd amounts or for what is not theirs to order, and
 * that take all they may: the others go on being served.
 *
 * docs/security.md has the table of which behaviour is tried where.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-attack.h"
#include "proto/wire.h"

#define NONE        HAKMEM__ERROR_CODE__ERROR_NONE
#define N_KEPT      6
#define PAGE_BYTES  4096
#define PATTERN     0xa7
#define WITNESS_HAS 0x3c /* what the witness writes: harness-attack.c */

/* ---- keeping what was given back ---- */

enum keep {
    KEEP_DESCRIPTOR,
    KEEP_MAPPING,
    KEEP_PRIVATE_MAPPING,
    KEEP_CHILD,
    KEEP_MESSAGE,
    N_ORPHANING, /* the kernel tells of these: an orphan */
    KEEP_PATH = N_ORPHANING,
    KEEP_SPLICED_PAGE,
    N_KEEPS
};

static const char *const keep_names[] = {"a descriptor",        "a mapping",
                                         "a private mapping",   "a forked child",
                                         "a message in flight", "an O_PATH descriptor",
                                         "a vmspliced page"};

struct kept {
    int ends[2]; /* of a socket pair or a pipe */
    char path[64];
};

static void keep(struct kept *kept, enum keep how, struct client *client, struct lease *lease)
{
    struct iovec page = {.iov_base = lease->memory, .iov_len = PAGE_BYTES};
    int protection = PROT_READ | PROT_WRITE, fd;
    switch (how) {
    case KEEP_DESCRIPTOR:
        require(fcntl(lease->fd, F_DUPFD_CLOEXEC, 0) >= 0);
        break;
    case KEEP_MAPPING:
    case KEEP_PRIVATE_MAPPING:
        require(mmap(NULL, PAGE_BYTES, protection, how == KEEP_MAPPING ? MAP_SHARED : MAP_PRIVATE,
                     lease->fd, 0) != MAP_FAILED);
        break;
    case KEEP_CHILD:
        if (harness_fork() == 0) {
            close(client->socket);
            for (;;)
                pause();
        }
        break;
    case KEEP_MESSAGE:
        require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, kept->ends) == 0);
        require_equal(conn_send(kept->ends[0], "x", 1, &lease->fd, 1), 0);
        break;
    case KEEP_PATH:
        snprintf(kept->path, sizeof(kept->path), "/proc/self/fd/%d", lease->fd);
        fd = open(kept->path, O_PATH | O_CLOEXEC);
        require(fd >= 0);
        snprintf(kept->path, sizeof(kept->path), "/proc/self/fd/%d", fd);
        break;
    default:
        require(pipe(kept->ends) == 0);
        require_equal(vmsplice(kept->ends[1], &page, 1, 0), PAGE_BYTES);
    }
}

/* What was kept must not have become a way to anybody else's memory. */
static void require_useless(const struct kept *kept, enum keep how)
{
    unsigned char bytes[PAGE_BYTES];
    if (how == KEEP_PATH && geteuid() != 0)
        require(open(kept->path, O_RDONLY) < 0 && open(kept->path, O_RDWR) < 0);
    if (how != KEEP_SPLICED_PAGE)
        return;
    require_equal(read(kept->ends[0], bytes, PAGE_BYTES), PAGE_BYTES);
    for (int i = 0; i < PAGE_BYTES; i++)
        require(bytes[i] != WITNESS_HAS);
}

/* In a child: leases, keeps, gives back; says so; waits for the word to look and to end. */
static pid_t start_keeper(enum keep how, int told[2], int go[2])
{
    pid_t child = attack_fork();
    if (child != 0)
        return child;
    struct kept kept[N_KEPT];
    struct client client;
    struct lease lease;
    char byte = 0;
    for (int i = 0; i < N_KEPT; i++) {
        client_begin(&client, &attack_daemon, &lease);
        lease_fill(&lease, PATTERN);
        keep(&kept[i], how, &client, &lease);
        lease_give_back(&client, &lease);
        client_close(&client);
    }
    require_equal(write(told[1], &byte, 1), 1);
    require_equal(read(go[0], &byte, 1), 1);
    for (int i = 0; i < N_KEPT; i++)
        require_useless(&kept[i], how);
    _exit(0);
}

static void test_keeps(void **state)
{
    (void)state;
    Hakmem__StatsReply stats;
    for (enum keep how = 0; how < N_KEEPS; how++) {
        int told[2], go[2];
        char byte = 0;
        fprintf(stderr, "keeps %s\n", keep_names[how]);
        require(pipe(told) == 0 && pipe(go) == 0);
        pid_t child = start_keeper(how, told, go);
        require_equal(read(told[0], &byte, 1), 1);
        if (how < N_ORPHANING)
            stats_until(&attack_daemon, &stats, stats.orphan_bytes == N_KEPT * SUPERSLAB_BYTES);
        attack_wait_witnessed(30);
        stats_get(&attack_daemon, &stats);
        require_equal(stats.orphan_bytes, how < N_ORPHANING ? N_KEPT * SUPERSLAB_BYTES : 0);
        require_equal(write(go[1], &byte, 1), 1);
        harness_join(child);
        stats_until(&attack_daemon, &stats, stats.orphan_bytes == 0);
        for (int i = 0; i < 2; i++) {
            close(told[i]);
            close(go[i]);
        }
    }
    attack_require_unharmed();
}

/* Dies, and leaves its connection to a child: what it had comes back all the same. */
static void test_leaves_its_connection_behind(void **state)
{
    (void)state;
    Hakmem__StatsReply stats;
    int told[2];
    pid_t heir;
    require(pipe(told) == 0);
    pid_t child = attack_fork();
    if (child == 0) {
        struct client client;
        struct lease lease;
        client_begin(&client, &attack_daemon, &lease);
        lease_unmap(&lease);
        lease_close(&lease);
        pid_t parent = getpid();
        heir = fork(); /* not harness_fork(): it outlives its parent */
        if (heir == 0) {
            while (getppid() == parent)
                harness_pause();
            for (;;)
                pause();
        }
        require_equal(write(told[1], &heir, sizeof(heir)), sizeof(heir));
        pause();
    }
    require_equal(read(told[0], &heir, sizeof(heir)), sizeof(heir));
    attack_kill(child);
    /* The witness is one client. */
    stats_until(&attack_daemon, &stats, stats.clients <= 1);
    kill(heir, SIGKILL);
    close(told[0]);
    close(told[1]);
    attack_require_unharmed();
}

/* ---- rights in what was given ---- */

/* Everything that the holder of a descriptor may try on the file, ours and the daemon's. */
static void abuse_file(int fd, size_t n_bytes, bool is_other_user)
{
    require(ftruncate(fd, 0) < 0 && ftruncate(fd, (off_t)n_bytes * 2) < 0);
    require(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
    if (is_other_user)
        require(fchmod(fd, 0666) < 0 && fchown(fd, geteuid(), getegid()) < 0);
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)n_bytes);
    (void)fcntl(fd, F_SETLEASE, F_WRLCK);
    struct flock lock = {.l_type = F_WRLCK};
    (void)fcntl(fd, F_OFD_SETLK, &lock);
    (void)fcntl(fd, F_NOTIFY, DN_MODIFY | DN_MULTISHOT);
}

static void test_abuses_its_files(void **state)
{
    (void)state;
    pid_t child = attack_fork();
    if (child == 0) {
        bool is_other_user = geteuid() != 0;
        for (int round = 0; round < 20; round++) {
            struct client client;
            struct lease lease;
            client_begin(&client, &attack_daemon, &lease);
            abuse_file(lease.fd, SUPERSLAB_BYTES, is_other_user);
            lease_fill(&lease, PATTERN);
            if (round % 2)
                lease_give_back(&client, &lease);
            else
                lease_drop(&client, &lease);
            client_close(&client);
        }
        _exit(0);
    }
    harness_join(child);
    attack_require_unharmed();
}

/* Shuts one direction of its socket, or both, and stays. */
static void test_half_closed(void **state)
{
    (void)state;
    Hakmem__StatsReply stats;
    static const int how[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    struct client clients[12];
    for (int i = 0; i < 12; i++) {
        Hakmem__Lease lease = HAKMEM__LEASE__INIT;
        Hakmem__Request request = HAKMEM__REQUEST__INIT;
        attack_hello(&clients[i]);
        lease.n_slabs = lease.run_slabs = 1;
        request.body_case = HAKMEM__REQUEST__BODY_LEASE;
        request.lease = &lease;
        if (i % 2)
            require_equal(client_send(&clients[i], &request), 0);
        require(shutdown(clients[i].socket, how[i % 3]) == 0);
        (void)client_send(&clients[i], &request);
    }
    /* Whether it hangs up on one that only does not read is seen when it answers: it must not keep
     * one that says nothing more and hears nothing more. */
    for (int i = 0; i < 12; i++)
        if (how[i % 3] == SHUT_RD)
            client_close(&clients[i]);
    stats_until(&attack_daemon, &stats, stats.clients <= 1);
    for (int i = 0; i < 12; i++)
        client_close(&clients[i]);
    attack_require_unharmed();
}

/* ---- asking ---- */

/* Values at the ends of their ranges and beyond, in every field; then the sums are looked at. */
static void test_absurd_values(void **state)
{
    (void)state;
    static const uint64_t absurd[] = {
        0,         3, 17, 257, 1u << 31, 1u << 30, UINT32_MAX, UINT32_MAX - 1, (uint64_t)1 << 63,
        UINT64_MAX};
    const size_t n_absurd = sizeof(absurd) / sizeof(absurd[0]);
    Hakmem__StatsReply stats;
    struct client held[10];
    for (size_t i = 0; i < n_absurd; i++) {
        Hakmem__Hello hello = HAKMEM__HELLO__INIT;
        Hakmem__Request request = HAKMEM__REQUEST__INIT;
        int fds[CONN_MAX_FDS];
        size_t n_fds;
        client_connect(&held[i], &attack_daemon);
        hello.version_min = 0;
        hello.version_max = UINT32_MAX;
        hello.features = UINT64_MAX;
        hello.held_bytes = absurd[i];
        hello.want_slabs = 0;
        request.body_case = HAKMEM__REQUEST__BODY_HELLO;
        request.hello = &hello;
        require_equal(client_send(&held[i], &request), 0);
        Hakmem__Reply *reply = client_receive(&held[i], fds, &n_fds);
        require(reply && reply->body_case == HAKMEM__REPLY__BODY_HELLO);
        require((reply->hello->features & ~(uint64_t)1) == 0);
        conn_close_fds(fds, n_fds);
        for (size_t j = 0; j < n_absurd; j++) {
            struct lease leases[CONN_MAX_FDS];
            uint32_t n_slabs = (uint32_t)absurd[j], n_accepted;
            size_t n;
            require(client_lease(&held[i], n_slabs == 3 || n_slabs == 17 ? 0 : n_slabs,
                                 (uint32_t)absurd[i], leases, &n) != NONE);
            require(client_lease(&held[i], 1, n_slabs, leases, &n) != NONE);
            (void)client_return(&held[i], &absurd[j], 1, &n_accepted);
            require_equal(n_accepted, 0);
        }
    }
    /* What they claim to hold is a figure like another: it neither wraps nor grows past reason. */
    stats_get(&attack_daemon, &stats);
    require(stats.held_bytes < (uint64_t)1 << 50);
    for (size_t i = 0; i < n_absurd; i++)
        client_close(&held[i]);
    stats_until(&attack_daemon, &stats, stats.held_bytes == 0);
    attack_require_unharmed();
}

/* Orders from somebody who has no right to give any, and the most expensive questions, as fast as
 * it can. */
static void test_orders_and_questions(void **state)
{
    (void)state;
    harness_need_root();
    Hakmem__StatsReply before, after;
    stats_get(&attack_daemon, &before);
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = attack_fork();
        if (children[i] != 0)
            continue;
        for (unsigned round = 0;; round++) {
            const Hakmem__ErrorCode denied = HAKMEM__ERROR_CODE__ERROR_NOT_PERMITTED;
            Hakmem__ClientsQuery clients = HAKMEM__CLIENTS_QUERY__INIT;
            Hakmem__Drain drain = HAKMEM__DRAIN__INIT;
            Hakmem__Prewarm prewarm = HAKMEM__PREWARM__INIT;
            Hakmem__Request request = HAKMEM__REQUEST__INIT;
            struct client client;
            uint64_t released;
            int fds[CONN_MAX_FDS];
            size_t n_fds;
            attack_hello(&client);
            require_equal(client_trim(&client, &released), denied);
            require_equal(client_set_quota(&client, "bytes_per_user", UINT64_MAX - 1), denied);
            require_equal(client_set_user_quota(&client, "requests_per_user", 1, 0), denied);
            request.body_case =
                round % 2 ? HAKMEM__REQUEST__BODY_DRAIN : HAKMEM__REQUEST__BODY_PREWARM;
            if (round % 2)
                request.drain = &drain;
            else
                request.prewarm = &prewarm;
            require_equal(client_send(&client, &request), 0);
            Hakmem__Reply *reply = client_receive(&client, fds, &n_fds);
            require(reply && reply->body_case == HAKMEM__REPLY__BODY_ERROR);
            require_equal(reply->error->code, denied);
            request.body_case = HAKMEM__REQUEST__BODY_CLIENTS;
            request.clients = &clients;
            for (int n = 0; n < 50; n++) {
                require_equal(client_send(&client, &request), 0);
                require(client_receive(&client, fds, &n_fds) != NULL);
            }
            client_close(&client);
        }
    }
    attack_wait_witnessed(60);
    for (int i = 0; i < 2; i++)
        attack_kill(children[i]);
    stats_get(&attack_daemon, &after);
    require_equal(after.denied_busy_total, before.denied_busy_total); /* it was never drained */
    attack_require_unharmed();
}

/* All that a user may have, held and not used: bytes, clients. Another user does not notice. */
static void test_takes_all_it_may(void **state)
{
    (void)state;
    harness_need_root();
    Hakmem__StatsReply stats;
    pid_t child = attack_fork();
    if (child == 0) {
        struct client clients[100];
        struct lease leases[CONN_MAX_FDS];
        size_t n, n_clients = 0;
        bool is_full = false;
        /* As many clients as it may have, each leasing until it is told why not. */
        while (n_clients < 100) {
            struct client *client = &clients[n_clients];
            client_connect(client, &attack_daemon);
            if (client_hello(client, 0, leases, &n) != NONE)
                break;
            while (client_lease(client, 16, 1, leases, &n) == NONE)
                for (size_t i = 0; i < n; i++)
                    close(leases[i].fd);
            is_full = is_full || strcmp(client->error_limit, "quota.bytes_per_user") == 0;
            n_clients++;
        }
        require(is_full);
        require_equal(n_clients, 100);
        raise(SIGSTOP);
        _exit(0);
    }
    stats_until(&attack_daemon, &stats, stats.clients >= 100 && stats.leased_bytes >= 512 * MIB);
    attack_wait_witnessed(60);
    attack_kill(child);
    attack_require_unharmed();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, attack_setup, attack_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_keeps),
        TEST(test_leaves_its_connection_behind),
        TEST(test_abuses_its_files),
        TEST(test_half_closed),
        TEST(test_absurd_values),
        TEST(test_orders_and_questions),
        TEST(test_takes_all_it_may),
    };
    return cmocka_run_group_tests_name("hostile-keepers", tests, attack_group_setup,
                                       attack_group_teardown);
}
