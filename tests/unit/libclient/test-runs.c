/*
 * Runs of units on two threads: what one looks at while the other is at work on it. Whether it may
 * is for ThreadSanitizer to say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "common/atomic.h"
#include "libclient/firstregion.h"
#include "libclient/heap.h"
#include "libclient/holes.h"
#include "libclient/large.h"
#include "libclient/lock.h"
#include "libclient/purge.h"
#include "libclient/runs.h"

enum { N_TURNS = 2000 };

static uint32_t n_turns;
static void *kept; /* the SuperSlab never empties */

static void *take_and_free(void *unused)
{
    bool zero;
    (void)unused;
    for (; atomic_load_relaxed(&n_turns) < N_TURNS; atomic_add_relaxed(&n_turns, 1)) {
        void *block = large_allocate(2 * UNIT_BYTES, 16, &zero);
        assert_non_null(block);
        large_free(block);
    }
    return NULL;
}

static pthread_t start_other(void)
{
    pthread_t other;
    n_turns = 0;
    assert_int_equal(pthread_create(&other, NULL, take_and_free, NULL), 0);
    return other;
}

/* A small program's use of its first region is summed up whenever it needs a run. */
static void use_is_counted_beside_a_free(void **state)
{
    (void)state;
    bool zero;
    pthread_t other = start_other();
    while (atomic_load_relaxed(&n_turns) < N_TURNS) {
        void *run = runs_allocate(1, 1, 1, false, &zero);
        assert_non_null(run);
        assert_false(firstregion_is_outgrown());
        runs_free(run, 1);
    }
    pthread_join(other, NULL);
}

/* The record of holes comes to be with the first page that goes. */
static void a_record_of_holes_comes_to_be_beside_a_free(void **state)
{
    (void)state;
    pthread_t other = start_other();
    while (atomic_load_relaxed(&n_turns) < N_TURNS / 2)
        ;
    assert_null(holes_if_any());
    lock_acquire(purge_lock());
    assert_true(holes_init());
    lock_release(purge_lock());
    pthread_join(other, NULL);
    assert_non_null(holes_if_any());
}

static int set_up(void **state)
{
    bool zero;
    (void)state;
    kept = heap_is_ready() ? runs_allocate(1, 1, CLASS_LARGE, false, &zero) : NULL;
    return kept ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_is_counted_beside_a_free),
        cmocka_unit_test(a_record_of_holes_comes_to_be_beside_a_free),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
