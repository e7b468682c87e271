/*
 * How much is leased at a time, and when: the tail that a program holds and does not use stays
 * within a twelfth of what it holds, and growing takes few requests all the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/superslab.h"
#include "libclient/leases.h"
#include "libclient/settings.h"

#define SLABS_OF_MIB(n) ((uint32_t)((n) / 2))

static void the_tail_is_bounded(void **state)
{
    (void)state;
    for (uint32_t held = 25; held < 20000; held++) {
        /* Asked for with the low water left; then the program wants no more. */
        uint32_t then = held + leases_step(held);
        uint32_t tail = leases_low_water(held) + leases_step(held);
        assert_true(tail * 12 <= then);
    }
    /* What a program has that is still small: no more than as much again, and no more than 8 MiB.
     */
    for (uint32_t held = 2; held < 25; held++)
        assert_true(leases_step(held) + leases_low_water(held) <= (held < 4 ? held : 4));
}

static void a_first_lease_is_small(void **state)
{
    (void)state;
    assert_int_equal(leases_step(0), 2);
    assert_int_equal(leases_low_water(0), 0);
    assert_int_equal(leases_low_water(2), 0); /* one that needs a single lease asks for no other */
}

static unsigned n_requests(uint32_t n_wanted)
{
    unsigned n = 0;
    for (uint32_t held = 0; held < n_wanted; n++)
        held += leases_step(held);
    return n;
}

static void growing_takes_few_requests(void **state)
{
    (void)state;
    assert_true(n_requests(SLABS_OF_MIB(16)) <= 3);
    assert_true(n_requests(SLABS_OF_MIB(64)) <= 13);
    assert_true(n_requests(SLABS_OF_MIB(256)) <= 46);
    assert_true(n_requests(SLABS_OF_MIB(1024)) <= 80);
}

/* Each is one extent or two: a lease of many small ones costs a mapping each. */
static void a_step_is_an_extent_or_two(void **state)
{
    (void)state;
    for (uint32_t held = 0; held < 5000; held++) {
        uint32_t step = leases_step(held);
        assert_in_range(step, 1, EXTENT_MAX_SLABS);
        assert_true(__builtin_popcount(step) <= 2);
        assert_true(leases_step(held + 1) >= step || held + 1 == 16); /* the end of the start */
    }
}

/* Two extents or three, and less over than a ninth. */
static void a_row_is_made_of_few_pieces(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= EXTENT_MAX_SLABS; n++) {
        uint32_t whole, piece = leases_piece(n, &whole);
        assert_in_range(whole, n, n + n / 9);
        assert_int_equal(piece & (piece - 1), 0);
        assert_int_equal(whole % piece, 0);
        assert_true(__builtin_popcount(whole) <= 3);
        assert_true(piece == (whole & -whole)); /* what is left last is an extent, too */
    }
}

/* Two threads fork at once: the first to be through does not let the other one's child share what
 * comes. And the child that has a thread less has none too few. */
static void every_fork_suspends(void **state)
{
    (void)state;
    settings.is_loaded = true;
    settings.connect = SETTINGS_CONNECT_LAZY;
    assert_true(leases_may_ask());
    leases_suspend();
    leases_suspend();
    leases_resume(false);
    assert_false(leases_may_ask());
    leases_resume(false);
    assert_true(leases_may_ask());
    leases_suspend();
    leases_suspend();
    leases_resume(true);
    assert_true(leases_may_ask());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tail_is_bounded),         cmocka_unit_test(a_first_lease_is_small),
        cmocka_unit_test(growing_takes_few_requests),  cmocka_unit_test(a_step_is_an_extent_or_two),
        cmocka_unit_test(a_row_is_made_of_few_pieces), cmocka_unit_test(every_fork_suspends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
