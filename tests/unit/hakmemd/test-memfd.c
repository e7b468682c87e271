/* The proof: each way in which somebody can still hold an extent's file defeats it, and it holds
 * again afterwards. */
#include "fixture.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/conn.h"

struct held {
    int ours; /* D */
    int theirs;
};

static struct held make(void)
{
    struct held held;
    signal(SIGIO, SIG_IGN);
    assert_int_equal(memfd_create_extent(SUPERSLAB_BYTES, false, &held.ours), 0);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    assert_int_equal(memfd_reopen(held.ours, &held.theirs), 0);
    return held;
}

static void test_descriptor(void **state)
{
    (void)state;
    struct held held = make();
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    close(held.theirs);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    close(held.ours);
}

static void test_duplicate(void **state)
{
    (void)state;
    struct held held = make();
    int copy = dup(held.theirs);
    close(held.theirs);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    close(copy);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    close(held.ours);
}

/* D itself, passed through a socket and kept by somebody else, is the same open file: it neither
 * defeats the proof nor loses it, whichever of the two numbers is asked, and with the first one
 * closed. So the proof holds for a daemon that got D from a service manager, which has it, too. */
static void test_passed_through_a_manager(void **state)
{
    (void)state;
    struct held held = make();
    int ends[2], fds[CONN_MAX_FDS];
    char byte;
    size_t n_bytes, n_fds;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    assert_int_equal(conn_send(ends[0], "d", 1, &held.ours, 1), 0);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    int theirs = held.theirs;
    close(theirs);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0); /* while D is under way */
    assert_int_equal(conn_recv(ends[1], &byte, 1, &n_bytes, fds, &n_fds), 0);
    assert_int_equal(n_fds, 1);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    assert_int_equal(memfd_prove_exclusive(fds[0]), 0);
    /* The first daemon is gone; a lease from the second. */
    close(held.ours);
    assert_int_equal(memfd_reopen(fds[0], &theirs), 0);
    assert_int_equal(memfd_prove_exclusive(fds[0]), MEMFD_SHARED);
    void *mapped = mmap(NULL, SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, theirs, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    close(theirs);
    assert_int_equal(memfd_prove_exclusive(fds[0]), MEMFD_SHARED);
    munmap(mapped, SUPERSLAB_BYTES);
    assert_int_equal(memfd_prove_exclusive(fds[0]), 0);
    /* And in another process, which is where a manager keeps it. */
    int stop[2];
    assert_int_equal(pipe(stop), 0);
    pid_t manager = fork();
    if (manager == 0) {
        close(stop[1]);
        _exit(read(stop[0], &byte, 1) == 0 ? 0 : 1);
    }
    assert_int_equal(memfd_prove_exclusive(fds[0]), 0);
    close(stop[0]);
    close(stop[1]);
    int status;
    waitpid(manager, &status, 0);
    assert_int_equal(status, 0);
    close(fds[0]);
    close(ends[0]);
    close(ends[1]);
}

static void test_read_only_descriptor(void **state)
{
    (void)state;
    struct held held = make();
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", held.theirs);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(reader >= 0);
    close(held.theirs);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    close(reader);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    close(held.ours);
}

static void check_mapping(int protection, int flags)
{
    struct held held = make();
    char *memory = mmap(NULL, SUPERSLAB_BYTES, protection, flags, held.theirs, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    close(held.theirs);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    /* A piece of it is enough to hold it. */
    munmap(memory, SUPERSLAB_BYTES - 4096);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    munmap(memory + SUPERSLAB_BYTES - 4096, 4096);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    close(held.ours);
}

static void test_mapping(void **state)
{
    (void)state;
    check_mapping(PROT_READ | PROT_WRITE, MAP_SHARED);
    check_mapping(PROT_READ | PROT_WRITE, MAP_PRIVATE);
    check_mapping(PROT_NONE, MAP_SHARED);
}

static void test_message_in_flight(void **state)
{
    (void)state;
    struct held held = make();
    int ends[2], fds[CONN_MAX_FDS];
    size_t n_bytes, n_fds;
    char byte = 'x', packet[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(conn_send(ends[0], &byte, 1, &held.theirs, 1), 0);
    close(held.theirs);
    close(ends[0]); /* in flight to a socket that nobody reads */
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    assert_int_equal(conn_recv(ends[1], packet, sizeof(packet), &n_bytes, fds, &n_fds), 0);
    assert_int_equal(n_fds, 1);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    conn_close_fds(fds, n_fds);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    close(ends[1]);
    close(held.ours);
}

static void test_forked_child(void **state)
{
    (void)state;
    struct held held = make();
    char *memory = mmap(NULL, SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, held.theirs, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    close(held.theirs);
    pid_t child = fork();
    if (child == 0) {
        close(held.ours); /* as CLOEXEC would: the daemon's own never reach a client */
        pause();
        _exit(0);
    }
    munmap(memory, SUPERSLAB_BYTES);
    assert_int_equal(memfd_prove_exclusive(held.ours), MEMFD_SHARED);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(memfd_prove_exclusive(held.ours), 0);
    close(held.ours);
}

static void test_sealed(void **state)
{
    (void)state;
    struct held held = make();
    struct stat status;
    assert_int_equal(fstat(held.theirs, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(ftruncate(held.theirs, 4096), -1);
    assert_int_equal(ftruncate(held.theirs, 2 * (off_t)SUPERSLAB_BYTES), -1);
    assert_int_equal(fcntl(held.theirs, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(fcntl(held.ours, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(held.theirs, F_GETFD), FD_CLOEXEC);
    close(held.theirs);
    close(held.ours);
}

static void test_punch_reads_as_zero(void **state)
{
    (void)state;
    int fd;
    struct memfd_mapping mapping;
    struct stat status;
    assert_int_equal(memfd_create_extent(4 * SUPERSLAB_BYTES, false, &fd), 0);
    assert_int_equal(memfd_map(fd, 4, &mapping), 0);
    assert_int_equal((uintptr_t)mapping.bytes % SUPERSLAB_BYTES, 0);
    memset(mapping.bytes, 0x5a, mapping.n_bytes);
    assert_int_equal(memfd_punch(fd, 1, 2), 0);
    assert_int_equal(mapping.bytes[0], 0x5a);
    assert_int_equal(mapping.bytes[SUPERSLAB_BYTES - 1], 0x5a);
    assert_int_equal(mapping.bytes[3 * SUPERSLAB_BYTES], 0x5a);
    assert_int_equal(fstat(fd, &status), 0);
    assert_true((uint64_t)status.st_blocks * 512 <= 2 * SUPERSLAB_BYTES);
    for (size_t i = SUPERSLAB_BYTES; i < 3 * SUPERSLAB_BYTES; i += 509)
        assert_int_equal(mapping.bytes[i], 0);
    memfd_unmap(&mapping);
    close(fd);
}

/* All of it, and nothing but zero is left; it makes no hole and needs none. */
static void test_cleared_by_writing(void **state)
{
    (void)state;
    struct memfd_mapping mapping;
    int fd;
    assert_int_equal(memfd_create_extent(4 * SUPERSLAB_BYTES, false, &fd), 0);
    assert_true(memfd_find_holes(fd, 4) != 0);
    assert_int_equal(memfd_map(fd, 4, &mapping), 0);
    memset(mapping.bytes, 0x5a, mapping.n_bytes);
    assert_int_equal(memfd_find_holes(fd, 4), 0);
    assert_int_equal(memfd_clear(fd, 4), 0);
    for (size_t i = 0; i < mapping.n_bytes / sizeof(uint64_t); i++)
        if (((uint64_t *)(void *)mapping.bytes)[i] != 0)
            fail_msg("a byte is left in word %zu", i);
    assert_int_equal(memfd_find_holes(fd, 4), 0);
    /* One page missing, and be it the last, is seen. */
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                               (off_t)mapping.n_bytes - 4096, 4096),
                     0);
    assert_true(memfd_find_holes(fd, 4) != 0);
    memfd_unmap(&mapping);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor),
        cmocka_unit_test(test_duplicate),
        cmocka_unit_test(test_passed_through_a_manager),
        cmocka_unit_test(test_read_only_descriptor),
        cmocka_unit_test(test_mapping),
        cmocka_unit_test(test_message_in_flight),
        cmocka_unit_test(test_forked_child),
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_punch_reads_as_zero),
        cmocka_unit_test(test_cleared_by_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
