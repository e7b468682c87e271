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
#include "libclient/glue.h"
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

static uint32_t take(uint32_t n_slabs)
{
    bool zero;
    uint32_t first;
    assert_true(freeslabs_take(FREESLABS_WARM, n_slabs, 1, &first, &zero));
    return first;
}

static void put(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first; i < first + n_slabs; i++)
        freeslabs_put_warm(i);
}

static void long_rows_stay_whole(void **state)
{
    (void)state;
    bool zero;
    uint32_t row = acquire(SOURCE_FOR_HUGE, N_TAKEN, &zero);
    put(row + 1, 8);
    put(row + 12, 2);
    put(row + 24, 3);
    /* Each where it fits best; by the lowest address the 8 would have gone first. */
    assert_int_equal(take(3), row + 24);
    assert_int_equal(take(2), row + 12);
    assert_int_equal(take(8), row + 1);
    /* The rest of a row is one as well. */
    put(row + 1, 8);
    put(row + 24, 3);
    assert_int_equal(take(2), row + 24);
    assert_int_equal(take(4), row + 1);
    assert_int_equal(take(4), row + 5);
    source_release(row, N_TAKEN);
    source_trim(0);
}

/* What is free and has been touched serves before what never was, wherever the two lie. */
static void what_was_used_serves_first(void **state)
{
    (void)state;
    bool zero;
    uint32_t row = acquire(SOURCE_FOR_HUGE, N_TAKEN, &zero);
    uint32_t fresh = row + 2, used = row + 7;
    window_slab(fresh)->zero = true; /* as if it were mapped ahead */
    put(fresh, 1);
    put(used, 1);
    assert_int_equal(acquire(SOURCE_FOR_UNITS, 1, &zero), used);
    assert_false(zero);
    while (acquire(SOURCE_FOR_UNITS, 1, &zero) != fresh)
        ;
    assert_false(bitmap_test(freeslabs.used, used));
    source_release(row, N_TAKEN);
    source_trim(0);
}

/* False: a second began meanwhile, at which what is free may go by the clock. */
static bool try_to_make_room(void)
{
    bool zero, zero_again;
    uint32_t row = acquire(SOURCE_FOR_HUGE, N_TAKEN, &zero);
    /* More is mapped than is wanted, and lies there untouched. */
    uint32_t single = acquire(SOURCE_FOR_UNITS, 1, &zero);
    while (!bitmap_test(freeslabs.warm, single + 1) || !bitmap_test(freeslabs.warm, single + 2))
        single = acquire(SOURCE_FOR_UNITS, 1, &zero);
    uint32_t begin_s = glue_now_s();
    for (uint32_t i = 0; i < 10; i += 2)
        source_release(row + i, 1);
    int32_t n_cold = freeslabs.n_cold;
    uint32_t first = acquire(SOURCE_FOR_HUGE, 2, &zero);
    int32_t n_gone = freeslabs.n_cold - n_cold;
    source_release(first, 2);
    n_cold = freeslabs.n_cold;
    uint32_t again = acquire(SOURCE_FOR_HUGE, 2, &zero_again);
    int32_t n_gone_again = freeslabs.n_cold - n_cold;
    source_release(again, 2);
    if (glue_now_s() != begin_s)
        return false;
    assert_int_equal(first, single + 1);
    assert_true(zero);
    assert_int_equal(n_gone, 2);
    /* Those that are used again cost nobody his pages. */
    assert_int_equal(again, first);
    assert_false(zero_again);
    assert_int_equal(n_gone_again, 0);
    return true;
}

static void what_was_used_makes_room_for_what_was_not(void **state)
{
    (void)state;
    unsigned tries = 0;
    while (!try_to_make_room())
        assert_true(++tries < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_rows_stay_whole),
        cmocka_unit_test(what_was_used_serves_first),
        cmocka_unit_test(what_was_used_makes_room_for_what_was_not),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
