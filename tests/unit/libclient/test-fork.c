/*
 * The fork handlers, beside another library's. (What they are for: tests/system/fork-*.sh.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/fork.h"
#include "libclient/glue.h"
#include "libclient/heap.h"
#include "libclient/lock.h"

/* Registered before ours, so that it is called after ours: between that and the fork. */
static void allocate_first(void)
{
    bool zero;
    assert_non_null(heap_allocate(100, 16, false, &zero));
}

/* A lock has its owner's id in it: a child that took its parent's for its own would take the lock
 * of a thread of that number for its own as well. */
static void a_child_knows_its_name_whoever_set_the_heap_up(void **state)
{
    (void)state;
    int status;
    pthread_atfork(allocate_first, NULL, NULL);
    fork_init();
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(heap_is_set_up(), i > 0);
        pid_t pid = fork();
        if (pid == 0)
            _exit(lock_thread_id() != glue_thread_id());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(lock_thread_id(), glue_thread_id());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_knows_its_name_whoever_set_the_heap_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
