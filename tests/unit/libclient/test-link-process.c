/* What the program does to the link: closes and re-uses its descriptor, runs out of them, forks. */
#include "fake-daemon.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>

/* ---- tests: the program and the descriptor ---- */

static void test_descriptor_is_high(void **state)
{
    struct fake *fake = *state;
    struct rlimit limit, lower;
    connect_good(fake);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(link_descriptor(), limit.rlim_cur < 961 ? limit.rlim_cur - 1 : 960);
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

/* Each of its few descriptors is the program's: one of ours could be the one that it lacks. */
static void test_few_descriptors_are_the_program_s(void **state)
{
    struct fake *fake = *state;
    struct rlimit limit, lower;
    int before = open_descriptors();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    lower = limit;
    lower.rlim_cur = 63;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lower), 0);
    link_init(fake->path, true, WAIT_US);
    assert_int_equal(lease(2, 1, false), LINK_ABSENT);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    link_init(fake->path, true, WAIT_US);
    connect_good(fake);
}

static int wait_for_exit(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static unsigned long fd_table_size(void)
{
    char line[256];
    unsigned long n = 0;
    FILE *status = fopen("/proc/self/status", "re");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) && sscanf(line, "FDSize: %lu", &n) != 1)
        ;
    fclose(status);
    return n;
}

/* While there are several threads the kernel's table would have to wait for all processors before
 * it grows. In a child, whose table is as small as its descriptors allow. */
static void test_descriptor_among_threads(void **state)
{
    struct fake *fake = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        unsigned long n = fd_table_size();
        __libc_single_threaded = 0;
        link_init(fake->path, true, WAIT_US);
        connect_good(fake);
        bool ok =
            link_descriptor() >= 32 && (unsigned long)link_descriptor() < n && fd_table_size() == n;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(wait_for_exit(child), 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_descriptor_is_high),
        TEST(test_descriptor_among_threads),
        TEST(test_few_descriptors_are_the_program_s),
        TEST(test_descriptor_among_threads),
        TEST(test_out_of_descriptors),
        TEST(test_standard_descriptors_are_left_alone),
        TEST(test_stolen_descriptor),
        TEST(test_fork_child),
        TEST(test_vfork_child),
    };
    return cmocka_run_group_tests_name("link-process", tests, NULL, NULL);
}
