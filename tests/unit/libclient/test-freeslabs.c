/*
 * Which of the free SuperSlabs serves: the ones that leave the longest row whole, and those that
 * were used go when others have to be touched in their place. On private memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libclient/freeslabs.h"
#include "libclient/heap.h"
#include "libclient/source.h"

#define N_TAKEN 32u

static uint32_t acquire(enum source_want want, uint32_t n_slabs, bool *zero)
{
    uint32_t first;
    assert_true(source_acquire(want, n_slabs, 1, &first, zero));
    memset(window_address(first), 1, n_slabs * SUPERSLAB_BYTES);
    return first;
}

/* So many in a row, all of them used. */
static uint32_t acquire_row(void)
{
    bool zero;
    return acquire(SOURCE_FOR_HUGE, N_TAKEN, &zero);
}

static void long_rows_stay_whole(void **state)
{
    (void)state;
    bool zero;
    uint32_t row = acquire_row();
    source_release(row + 1, 8);
    source_release(row + 12, 2);
    source_release(row + 20, 1);
    source_release(row + 24, 3);
    /* Each where it fits best; by the lowest address the 8 would have gone first. */
    assert_int_equal(acquire(SOURCE_FOR_HUGE, 3, &zero), row + 24);
    assert_int_equal(acquire(SOURCE_FOR_UNITS, 1, &zero), row + 20);
    assert_int_equal(acquire(SOURCE_FOR_HUGE, 2, &zero), row + 12);
    assert_int_equal(acquire(SOURCE_FOR_HUGE, 8, &zero), row + 1);
    source_release(row, N_TAKEN);
    source_trim(0);
}

static void what_was_used_makes_room_for_what_was_not(void **state)
{
    (void)state;
    bool zero;
    uint32_t row = acquire_row();
    /* More is mapped than is wanted, and lies there untouched. */
    uint32_t single = acquire(SOURCE_FOR_UNITS, 1, &zero);
    while (!bitmap_test(freeslabs.warm, single + 1) || !bitmap_test(freeslabs.warm, single + 2))
        single = acquire(SOURCE_FOR_UNITS, 1, &zero);
    for (uint32_t i = 0; i < 10; i += 2)
        source_release(row + i, 1);
    int32_t n_cold = freeslabs.n_cold;
    assert_int_equal(acquire(SOURCE_FOR_HUGE, 2, &zero), single + 1);
    assert_true(zero);
    assert_int_equal(freeslabs.n_cold - n_cold, 2);
    /* Those that are used again cost nobody his pages. */
    source_release(single + 1, 2);
    n_cold = freeslabs.n_cold;
    assert_int_equal(acquire(SOURCE_FOR_HUGE, 2, &zero), single + 1);
    assert_false(zero);
    assert_int_equal(freeslabs.n_cold, n_cold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_rows_stay_whole),
        cmocka_unit_test(what_was_used_makes_room_for_what_was_not),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
