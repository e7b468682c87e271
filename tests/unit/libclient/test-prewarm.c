/*
 * Prewarmed private memory stays for as long as hakmem.h says, whatever the clock does meanwhile,
 * and not for longer. The clock is the test's: the library asks it by clock_gettime(), which is
 * defined here. So is madvise(), to refuse pages.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hakmem.h"
#include "libclient/freeslabs.h"
#include "libclient/heap.h"
#include "libclient/source.h"
#include "libclient/sparsepages.h"
#include "libclient/tick.h"
#include "libclient/window.h"

#define MIB ((size_t)1 << 20)

static long offset_s, step_s; /* ahead of the kernel's clock; further ahead by each question */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long r = syscall(SYS_clock_gettime, clock, now);
    offset_s += step_s;
    now->tv_sec += offset_s;
    return (int)r;
}

static int populate_error; /* not 0: no pages are brought in */

int madvise(void *at, size_t n_bytes, int advice)
{
    if (advice == MADV_POPULATE_WRITE && populate_error != 0) {
        errno = populate_error;
        return -1;
    }
    return (int)syscall(SYS_madvise, at, n_bytes, advice);
}

static bool is_there(uint32_t index)
{
    return sparsepages_count(window_address(index), SUPERSLAB_BYTES) == SUPERSLAB_BYTES / 4096;
}

/* Free, warm, and every page there. */
static uint32_t n_there(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < window.high_low; i++)
        n += bitmap_test(freeslabs.warm, i) && is_there(i);
    return n;
}

static void let_time_pass(long seconds)
{
    offset_s += seconds;
    tick();
}

static void it_is_there_although_the_second_ends(void **state)
{
    (void)state;
    step_s = 1;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    step_s = 0;
    assert_true(n_there() >= 8);
}

static void it_stays_while_it_is_not_used(void **state)
{
    (void)state;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    for (unsigned s = 0; s < SOURCE_KEEP_S - 5; s += 5) {
        let_time_pass(5);
        assert_true(n_there() >= 8);
    }
    /* Asked for again, for as long again. */
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    let_time_pass(SOURCE_KEEP_S - 2);
    assert_true(n_there() >= 8);
}

static void it_does_not_stay_for_ever(void **state)
{
    (void)state;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    let_time_pass(SOURCE_KEEP_S + 1);
    let_time_pass(3);
    assert_int_equal(n_there(), 0);
    /* Nor what was used, and is free again. */
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    bool zero;
    void *block = heap_allocate(16 * MIB, 16, false, &zero);
    heap_free(block);
    let_time_pass(3);
    assert_int_equal(n_there(), 0);
}

static void trim_gives_it_back(void **state)
{
    (void)state;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    assert_true(hak_trim(0) >= 16 * MIB);
    assert_int_equal(n_there(), 0);
}

/* What went comes again, and no more of it. */
static void it_can_be_asked_for_again_and_again(void **state)
{
    (void)state;
    struct hak_stats first, now;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    hak_stats(&first, sizeof(first));
    for (unsigned i = 0; i < 10; i++) {
        if (i % 2 == 0) {
            hak_trim(0);
        } else {
            let_time_pass(SOURCE_KEEP_S + 1);
            let_time_pass(3);
        }
        assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
        assert_true(n_there() >= 8);
        hak_stats(&now, sizeof(now));
        assert_true(now.private_bytes == first.private_bytes);
    }
}

/* Then the caller is told, and has it when there are pages again. */
static void the_kernel_may_have_no_pages(void **state)
{
    (void)state;
    hak_trim(0);
    populate_error = ENOMEM;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), -ENOMEM);
    populate_error = 0;
    assert_int_equal(n_there(), 0);
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    assert_true(n_there() >= 8);
}

/* One that does not know how to bring them in at once: page by page. */
static void an_old_kernel_will_do(void **state)
{
    (void)state;
    hak_trim(0);
    populate_error = EINVAL;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    populate_error = 0;
    assert_true(n_there() >= 8);
}

/* What was free a moment ago is not for that gone, though the clock's second ended since. */
static void what_is_freed_stays_for_a_second(void **state)
{
    (void)state;
    bool zero;
    let_time_pass(3);
    void *block = heap_allocate(4 * MIB, 16, false, &zero);
    memset(block, 1, 4 * MIB);
    uint32_t index = window_index(block);
    heap_free(block);
    let_time_pass(1);
    assert_true(is_there(index));
    let_time_pass(2);
    assert_false(is_there(index));
}

static void a_child_has_it_and_can_ask_itself(void **state)
{
    (void)state;
    assert_int_equal(hak_ss_prewarm_init(16 * MIB), 0);
    pid_t pid = fork();
    if (pid == 0) {
        bool zero, ok = hak_ss_prewarm_init(24 * MIB) == 0 && n_there() >= 12;
        void *block = heap_allocate(16 * MIB, 16, false, &zero);
        let_time_pass(SOURCE_KEEP_S + 1);
        let_time_pass(3);
        _exit(ok && block && n_there() == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(n_there() >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_there_although_the_second_ends),
        cmocka_unit_test(it_stays_while_it_is_not_used),
        cmocka_unit_test(the_kernel_may_have_no_pages),
        cmocka_unit_test(an_old_kernel_will_do),
        cmocka_unit_test(it_does_not_stay_for_ever),
        cmocka_unit_test(trim_gives_it_back),
        cmocka_unit_test(it_can_be_asked_for_again_and_again),
        cmocka_unit_test(what_is_freed_stays_for_a_second),
        cmocka_unit_test(a_child_has_it_and_can_ask_itself),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
