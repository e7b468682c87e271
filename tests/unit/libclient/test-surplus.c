/*
 * Free private SuperSlabs beyond what may be free go at the release that makes them too many; what
 * is wanted again soon stays the next time. On private memory, with a clock that stands still, and
 * an madvise() that counts, and refuses.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "libclient/freeslabs.h"
#include "libclient/heap.h"
#include "libclient/private.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/surplus.h"
#include "libclient/window.h"

#define N    64u
#define MANY 512u /* untouched: address space */

static time_t now_s = 1000;
static unsigned n_purges;
static bool refuses;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    (void)clock;
    *now = (struct timespec){.tv_sec = now_s};
    return 0;
}

int madvise(void *at, size_t n_bytes, int advice)
{
    if (advice == MADV_DONTNEED) {
        n_purges++;
        if (refuses) {
            errno = EINVAL;
            return -1;
        }
    }
    return (int)syscall(SYS_madvise, at, n_bytes, advice);
}

static bool is_resident(uint32_t index)
{
    unsigned char page;
    assert_int_equal(mincore(window_address(index), 4096, &page), 0);
    return page & 1;
}

static uint32_t acquire_touched(void)
{
    uint32_t index;
    bool zero;
    assert_true(source_acquire(SOURCE_FOR_UNITS, 1, 1, &index, &zero));
    memset(window_address(index), 1, SUPERSLAB_BYTES);
    return index;
}

static uint32_t acquire_untouched(uint32_t n_slabs)
{
    uint32_t first;
    bool zero;
    assert_true(source_acquire(SOURCE_FOR_HUGE, n_slabs, 1, &first, &zero));
    return first;
}

static uint32_t slabs[N];

static void grow(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        slabs[i] = acquire_touched();
}

static void shrink(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        source_release(slabs[i], 1);
}

static unsigned count_resident(unsigned n)
{
    unsigned n_resident = 0;
    for (unsigned i = 0; i < n; i++)
        n_resident += is_resident(slabs[i]);
    return n_resident;
}

/* Nothing is free, nothing is expected, and a new second has begun. */
static int set_up(void **state)
{
    (void)state;
    refuses = false;
    for (unsigned i = 0; i < 200; i++) {
        now_s++;
        source_tick();
        source_release(acquire_touched(), 1);
    }
    now_s++;
    source_trim(0);
    assert_int_equal(surplus_regretted(), 0);
    n_purges = 0;
    return 0;
}

static void the_surplus_goes_at_once(void **state)
{
    (void)state;
    grow(N);
    shrink(N);
    unsigned n_resident = count_resident(N);
    assert_in_range(n_resident, 1, surplus_limit());
    assert_int_equal(n_resident, private_count_used());
    /* In batches, though each was given back by itself. */
    assert_in_range(n_purges, 1, N / 2);
}

static void the_surplus_of_one_block_goes_at_once(void **state)
{
    (void)state;
    uint32_t first = acquire_untouched(N);
    memset(window_address(first), 1, superslab_bytes(N));
    source_release(first, N);
    for (unsigned i = 0; i < N; i++)
        slabs[i] = first + i;
    assert_in_range(count_resident(N), 1, surplus_limit());
    assert_int_equal(n_purges, 1);
}

static void a_little_stays(void **state)
{
    (void)state;
    unsigned n = surplus_limit();
    for (unsigned round = 0; round < 100; round++) {
        grow(n);
        shrink(n);
    }
    assert_int_equal(n_purges, 0);
    assert_int_equal(count_resident(n), n);
}

/* A program that holds much may have more of it free. */
static void a_share_of_what_is_in_use_stays(void **state)
{
    (void)state;
    uint32_t little = surplus_limit();
    uint32_t many = acquire_untouched(MANY);
    uint32_t much = surplus_limit();
    assert_in_range(much, little + MANY / 16, little + MANY / 4);
    unsigned n = much < N ? much : N;
    grow(n);
    shrink(n);
    assert_int_equal(n_purges, 0);
    /* And when that is given back, what is free is too much for what is left. */
    source_release(many, MANY);
    assert_in_range(private_count_used(), 1, surplus_limit());
    assert_true(surplus_limit() < much);
}

/* What was mapped ahead and never touched costs nothing: it is no surplus, and makes none of the
 * rest. */
static void untouched_memory_is_no_surplus(void **state)
{
    (void)state;
    unsigned n = surplus_limit();
    grow(n);
    uint32_t ahead = acquire_untouched(N);
    for (uint32_t i = ahead; i < ahead + N; i++) {
        window_slab(i)->zero = true;
        freeslabs_put_warm(i);
    }
    shrink(n);
    assert_int_equal(n_purges, 0);
    assert_int_equal(count_resident(n), n);
    for (uint32_t i = ahead; i < ahead + N; i++) {
        freeslabs_remove(i);
        freeslabs_put_cold(i);
    }
}

static unsigned count_kept(uint32_t begin, uint32_t end)
{
    unsigned n = 0;
    for (uint32_t i = begin; i < end; i++) {
        bool is_kept = window_slab(i)->kind == SUPERSLAB_FREE && window_slab(i)->is_kept;
        assert_true(!is_kept || is_resident(i));
        n += is_kept;
    }
    return n;
}

static void prewarmed_memory_is_no_surplus(void **state)
{
    (void)state;
    assert_true(source_prewarm(N / 2));
    grow(N);
    source_prewarm(N / 2);
    n_purges = 0;
    shrink(N);
    assert_in_range(n_purges, 1, N / 2);
    assert_int_equal(count_kept(0, window.high_low) + count_kept(window.n_apart, window.high_apart),
                     N / 2);
}

static void who_swings_pays_once(void **state)
{
    (void)state;
    grow(N);
    shrink(N);
    grow(N);
    shrink(N); /* sees what was wanted again */
    unsigned n_before = n_purges;
    for (unsigned swing = 0; swing < 40; swing++) {
        now_s += swing % 4 == 0;
        grow(N);
        shrink(N);
    }
    assert_int_equal(n_purges, n_before);
    assert_in_range(surplus_regretted(), N / 2, 2 * N);
}

static void what_is_not_wanted_any_more_goes_again(void **state)
{
    (void)state;
    for (unsigned swing = 0; swing < 4; swing++) {
        grow(N);
        shrink(N);
    }
    assert_in_range(surplus_regretted(), N / 2, 2 * N);
    for (unsigned i = 0; i < 60; i++) {
        now_s++;
        source_release(acquire_touched(), 1);
    }
    assert_int_equal(surplus_regretted(), 0);
    grow(N);
    shrink(N);
    assert_in_range(count_resident(N), 1, surplus_limit());
}

/* Not soon: it would have gone by the clock. Whether the program did something meanwhile or slept.
 */
static void what_is_wanted_later_does_not_count(void **state)
{
    for (unsigned sleeps = 0; sleeps < 2; sleeps++) {
        set_up(state);
        grow(N);
        shrink(N);
        for (unsigned i = 0; i < 3; i++) {
            now_s += sleeps ? 10 : 1;
            if (!sleeps)
                source_tick();
        }
        grow(N);
        now_s++;
        source_tick();
        assert_int_equal(surplus_regretted(), 0);
        shrink(N);
    }
}

/* Locked memory, say: nothing is lost, and it is not tried at each step. */
static void a_refusal_changes_nothing(void **state)
{
    (void)state;
    grow(N);
    refuses = true;
    shrink(N);
    refuses = false;
    assert_in_range(n_purges, 1, 3 * N);
    assert_int_equal(count_resident(N), N);
    assert_int_equal(private_count_used(), N);
    source_release(acquire_touched(), 1);
    source_release(acquire_touched(), 1);
    source_release(acquire_touched(), 1);
    assert_in_range(count_resident(N), 1, surplus_limit());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_surplus_goes_at_once, set_up),
        cmocka_unit_test_setup(the_surplus_of_one_block_goes_at_once, set_up),
        cmocka_unit_test_setup(a_little_stays, set_up),
        cmocka_unit_test_setup(a_share_of_what_is_in_use_stays, set_up),
        cmocka_unit_test_setup(untouched_memory_is_no_surplus, set_up),
        cmocka_unit_test_setup(prewarmed_memory_is_no_surplus, set_up),
        cmocka_unit_test_setup(who_swings_pays_once, set_up),
        cmocka_unit_test_setup(what_is_not_wanted_any_more_goes_again, set_up),
        cmocka_unit_test_setup(what_is_wanted_later_does_not_count, set_up),
        cmocka_unit_test_setup(a_refusal_changes_nothing, set_up),
    };
    if (!heap_is_ready())
        return 1;
    settings.connect = SETTINGS_CONNECT_OFF;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
