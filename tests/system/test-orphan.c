/*
 * Memory that its client let go of and something else did not: never leased again, shown as
 * orphaned, charged, and free once the last holder is gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

static int setup(void **state)
{
    static const char *const options[] = {"pool.min=4M", "pool.max=64M", "socket.mode=0666", NULL};
    return daemon_setup(state, options, true);
}

static ino_t inode_of(int fd)
{
    struct stat status;
    require(fstat(fd, &status) == 0);
    return status.st_ino;
}

/* While something holds it, the file is leased to nobody, however much is asked for. */
static void require_not_leased(struct daemon *daemon, ino_t inode)
{
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    for (int round = 0; round < 4; round++) {
        require_equal(client_lease(&client, 8, 1, leases, &n), NONE);
        for (size_t i = 0; i < n; i++) {
            require(inode_of(leases[i].fd) != inode);
            lease_map(&client, &leases[i]);
            require_equal(leases[i].memory[0], 0);
            leases[i].memory[0] = 1;
        }
        for (size_t i = 0; i < n; i++)
            lease_give_back(&client, &leases[i]);
    }
    client_close(&client);
}

/* What holds on to the extent beyond its client's end. Undone by release(). */
struct holder {
    int fd;
    unsigned char *memory;
    pid_t child;
    int pipe_ends[2];
};

enum hold { HOLD_DESCRIPTOR, HOLD_MAPPING, HOLD_CHILD, HOLD_MESSAGE, N_HOLDS };

static const char *const hold_names[] = {"descriptor", "mapping", "child", "message in flight"};

static void hold(struct holder *holder, enum hold how, const struct client *client,
                 const struct lease *lease)
{
    *holder = (struct holder){.fd = -1, .pipe_ends = {-1, -1}};
    switch (how) {
    case HOLD_DESCRIPTOR:
        holder->fd = fcntl(lease->fd, F_DUPFD_CLOEXEC, 0);
        break;
    case HOLD_MAPPING:
        holder->memory =
            mmap(NULL, 4096, PROT_READ, MAP_SHARED, lease->fd, (off_t)SUPERSLAB_BYTES / 2);
        require(holder->memory != MAP_FAILED);
        break;
    case HOLD_CHILD:
        holder->child = harness_fork();
        if (holder->child == 0) {
            close(client->socket); /* else the connection would not end, either */
            for (;;)
                pause();
        }
        break;
    case HOLD_MESSAGE:
        require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, holder->pipe_ends) == 0);
        require_equal(conn_send(holder->pipe_ends[0], "x", 1, &lease->fd, 1), 0);
        break;
    case N_HOLDS:
        break;
    }
}

static void release(struct holder *holder)
{
    if (holder->fd >= 0)
        close(holder->fd);
    if (holder->memory)
        munmap(holder->memory, 4096);
    if (holder->child > 0) {
        kill(holder->child, SIGKILL);
        (void)harness_wait(holder->child);
    }
    for (int i = 0; i < 2; i++) {
        if (holder->pipe_ends[i] >= 0)
            close(holder->pipe_ends[i]);
    }
}

static void orphan(struct daemon *daemon, enum hold how, bool is_returned)
{
    Hakmem__StatsReply stats;
    struct client client;
    struct lease lease;
    struct holder holder;

    fprintf(stderr, "held by %s, %s\n", hold_names[how], is_returned ? "returned" : "client gone");
    client_begin(&client, daemon, &lease);
    lease_fill(&lease, 0x99);
    ino_t inode = inode_of(lease.fd);
    hold(&holder, how, &client, &lease);
    if (is_returned)
        lease_give_back(&client, &lease);
    client_close(&client);
    lease_unmap(&lease);
    lease_close(&lease);
    stats_until(daemon, &stats, stats.clients == 0 && stats.leased_bytes == 0);
    require_equal(stats.orphan_bytes, SUPERSLAB_BYTES);
    require_not_leased(daemon, inode);
    stats_get(daemon, &stats);
    require_equal(stats.orphan_bytes, SUPERSLAB_BYTES);
    release(&holder);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

static void test_orphans(void **state)
{
    for (enum hold how = 0; how < N_HOLDS; how++) {
        orphan(*state, how, true);
        orphan(*state, how, false);
    }
}

/*
 * An O_PATH descriptor does not count as a holder, so the extent may be used again for the same
 * user. It opens nothing: neither while the next program of that user has the memory nor ever,
 * because the file is the daemon's, mode 0600.
 */
static void test_path_descriptor_opens_nothing(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;

    harness_need_root();
    pid_t child = harness_fork();
    if (child == 0) {
        struct client client;
        struct lease lease, leases[CONN_MAX_FDS];
        char path[64];
        size_t n;

        harness_become(61004);
        client_begin(&client, daemon, &lease);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", lease.fd);
        int path_fd = open(path, O_PATH | O_CLOEXEC);
        require(path_fd >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
        require(open(path, O_RDWR) < 0 && errno == EACCES);
        lease_give_back(&client, &lease);
        client_close(&client);

        client_connect(&client, daemon);
        require_equal(client_hello(&client, 0, leases, &n), NONE);
        require_equal(client_lease(&client, 16, 1, leases, &n), NONE);
        for (size_t i = 0; i < n; i++)
            lease_map(&client, &leases[i]);
        require(open(path, O_RDWR) < 0 && errno == EACCES);
        require(open(path, O_RDONLY) < 0 && errno == EACCES);
        _exit(0);
    }
    harness_join(child);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* A page pinned by vmsplice outlives mapping and descriptor, and no proof of the kernel's tells of
 * it. */
static void test_vmspliced_page(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client, next;
    struct lease lease, leases[CONN_MAX_FDS];
    int ends[2];
    unsigned char byte = 0;
    size_t n;

    harness_need_root();
    client_begin(&client, daemon, &lease);
    lease_fill(&lease, 0x01);
    require(pipe(ends) == 0);
    struct iovec page = {.iov_base = lease.memory, .iov_len = 4096};
    require_equal(vmsplice(ends[1], &page, 1, 0), 4096);
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(daemon, &stats, stats.leased_bytes == 0 && stats.scrubbing_bytes == 0);

    /* Another user writes a secret into all that it is leased. */
    pid_t child = harness_fork();
    if (child == 0) {
        harness_become(61003);
        client_connect(&next, daemon);
        require_equal(client_hello(&next, 0, leases, &n), NONE);
        for (int round = 0; round < 4; round++) {
            require_equal(client_lease(&next, 8, 1, leases, &n), NONE);
            for (size_t i = 0; i < n; i++) {
                lease_map(&next, &leases[i]);
                lease_fill(&leases[i], 0x53);
            }
        }
        _exit(0);
    }
    harness_join(child);
    for (int i = 0; i < 4096; i++) {
        require_equal(read(ends[0], &byte, 1), 1);
        require(byte != 0x53);
    }
    close(ends[0]);
    close(ends[1]);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* Orphans count against their user's quota: else keeping descriptors would be a way around it. */
static void test_orphans_are_charged(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease lease, leases[CONN_MAX_FDS];
    int kept[4];
    size_t n;

    daemon_kill(daemon);
    daemon_configure(daemon, "pool.min=4M", "pool.max=64M", "quota.bytes_per_user=8M", NULL);
    daemon_start(daemon);
    for (int i = 0; i < 4; i++) {
        client_begin(&client, daemon, &lease);
        kept[i] = fcntl(lease.fd, F_DUPFD_CLOEXEC, 0);
        lease_give_back(&client, &lease);
        client_close(&client);
    }
    stats_until(daemon, &stats, stats.orphan_bytes == 4 * SUPERSLAB_BYTES);
    client_connect(&client, daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    require_equal(client_lease(&client, 1, 1, leases, &n), HAKMEM__ERROR_CODE__ERROR_QUOTA);
    require(strcmp(client.error_limit, "quota.bytes_per_user") == 0);
    for (int i = 0; i < 4; i++)
        close(kept[i]);
    stats_until(daemon, &stats, stats.orphan_bytes == 0 && stats.scrubbing_bytes == 0);
    require_equal(client_lease(&client, 1, 1, leases, &n), NONE);
    client_close(&client);
    lease_close(&leases[0]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, daemon_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_orphans),
        TEST(test_path_descriptor_opens_nothing),
        TEST(test_vmspliced_page),
        TEST(test_orphans_are_charged),
    };
    return cmocka_run_group_tests_name("orphan", tests, NULL, NULL);
}
