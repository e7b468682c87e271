/* A witness tells of every process that was made while it was mapped, and of no other. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "libclient/witness.h"

/* A process that holds until `hold` is closed; `depth` processes between it and us are gone. */
static pid_t make_child(int depth, bool raw, int hold[2], int gone[2])
{
    assert_int_equal(pipe(hold), 0);
    assert_int_equal(pipe(gone), 0);
    pid_t pid = raw ? (pid_t)syscall(SYS_fork) : fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        for (; depth > 0; depth--) {
            if (fork() != 0)
                _exit(0);
        }
        close(hold[1]);
        close(gone[0]);
        for (int fd = 3; fd < 2000; fd++) { /* descriptors do not matter */
            if (fd != hold[0] && fd != gone[1])
                close(fd);
        }
        char byte;
        (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    close(hold[0]);
    close(gone[1]);
    if (depth > 0)
        waitpid(pid, NULL, 0);
    return pid;
}

static void end_child(pid_t pid, int hold[2], int gone[2])
{
    char byte;
    close(hold[1]);
    assert_int_equal(read(gone[0], &byte, 1), 0);
    close(gone[0]);
    waitpid(pid, NULL, 0);
}

/* The last of a chain is not our child: its descriptors end a moment before its mappings or after.
 */
static bool is_clear_at_last(const struct witness *witness)
{
    for (int i = 0; i < 5000; i++) {
        if (witness_ask(witness) == WITNESS_ALONE)
            return true;
        usleep(1000);
    }
    return false;
}

static void test_children(void **unused)
{
    (void)unused;
    for (int depth = 0; depth < 3; depth++) {
        for (int raw = 0; raw < 2; raw++) {
            struct witness witness;
            int hold[2], gone[2], hold_later[2], gone_later[2];
            assert_true(witness_init(&witness));
            pid_t pid = make_child(depth, raw, hold, gone);
            witness_retire(&witness);
            pid_t later = make_child(0, raw, hold_later, gone_later); /* does not count */
            assert_int_equal(witness_ask(&witness), WITNESS_HELD);
            close(hold_later[1]);
            hold_later[1] = -1;
            assert_int_equal(witness_ask(&witness), WITNESS_HELD);
            end_child(pid, hold, gone);
            assert_true(depth > 0 ? is_clear_at_last(&witness)
                                  : witness_ask(&witness) == WITNESS_ALONE);
            waitpid(later, NULL, 0);
            close(gone_later[0]);
            witness_forget(&witness);
            assert_false(witness_exists(&witness));
        }
    }
}

static void test_exec(void **unused)
{
    (void)unused;
    struct witness witness;
    int fds[2];
    assert_true(witness_init(&witness));
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[0], 0);
        close(fds[1]);
        execlp("cat", "cat", NULL);
        _exit(127);
    }
    close(fds[0]);
    witness_retire(&witness);
    assert_true(is_clear_at_last(&witness));
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* it lives */
    close(fds[1]);
    waitpid(pid, NULL, 0);
    witness_forget(&witness);
}

static void test_lost(void **unused)
{
    (void)unused;
    struct witness witness;
    assert_true(witness_init(&witness));
    witness_retire(&witness);
    close(witness.file.fd);
    assert_int_equal(witness_ask(&witness), WITNESS_LOST);
    /* The number is the program's now: a file that could be sealed. */
    int fd = memfd_create("theirs", MFD_ALLOW_SEALING);
    assert_int_equal(dup2(fd, witness.file.fd), witness.file.fd);
    assert_int_equal(witness_ask(&witness), WITNESS_LOST);
    assert_int_equal(fcntl(fd, F_GET_SEALS), 0);
    int theirs = witness.file.fd;
    witness_forget(&witness);
    assert_int_equal(fcntl(theirs, F_GETFD), 0); /* and still open */
    close(theirs);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_children),
        cmocka_unit_test(test_exec),
        cmocka_unit_test(test_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
