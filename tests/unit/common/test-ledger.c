/* The ledger's state machine: exactly the transitions listed, by the right side, and no lost
 * update. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/ledger.h"

#define E SLAB_EMPTY
#define A SLAB_ACTIVE
#define I SLAB_IDLE
#define R SLAB_RECLAIMING
#define D SLAB_RECLAIMED
#define P SLAB_PINNED

/* [from][to], as docs/ledger.md has it. */
static const bool client_may[SLAB_N_STATES][SLAB_N_STATES] = {
    [E] = {[A] = true},
    [A] = {[I] = true, [P] = true},
    [I] = {[A] = true, [E] = true, [P] = true},
    [R] = {[P] = true},
    [D] = {[A] = true, [E] = true, [P] = true},
    [P] = {[E] = true},
};
static const bool daemon_may[SLAB_N_STATES][SLAB_N_STATES] = {
    [E] = {[E] = true},
    [A] = {[E] = true},
    [I] = {[R] = true, [E] = true},
    [R] = {[D] = true, [I] = true, [E] = true},
    [D] = {[E] = true},
    [P] = {[E] = true},
};

static void each_side_makes_its_own_transitions_only(void **state)
{
    (void)state;
    for (uint32_t from = 0; from < SLAB_N_STATES; from++) {
        for (uint32_t to = 0; to < SLAB_N_STATES; to++) {
            uint32_t slot = 7u << 8 | from;
            bool made = ledger_slab_change(&slot, slot, LEDGER_CLIENT, (enum slab_state)to);
            assert_int_equal(made, client_may[from][to]);
            assert_int_equal(slot, made ? (8u << 8 | to) : (7u << 8 | from));
            slot = 7u << 8 | from;
            made = ledger_slab_change(&slot, slot, LEDGER_DAEMON, (enum slab_state)to);
            assert_int_equal(made, daemon_may[from][to]);
            assert_int_equal(slot, made ? (8u << 8 | to) : (7u << 8 | from));
        }
    }
}

static void a_word_that_moved_on_is_not_changed(void **state)
{
    (void)state;
    uint32_t slot = 5u << 8 | SLAB_IDLE, seen = slot;
    assert_true(ledger_slab_change(&slot, seen, LEDGER_CLIENT, SLAB_ACTIVE));
    assert_true(ledger_slab_change(&slot, slot, LEDGER_CLIENT, SLAB_IDLE));
    /* IDLE again, but used in between: the sequence tells. */
    assert_false(ledger_slab_change(&slot, seen, LEDGER_DAEMON, SLAB_RECLAIMING));
    assert_int_equal(ledger_word_state(slot), SLAB_IDLE);
}

static void states_that_do_not_exist_are_refused(void **state)
{
    (void)state;
    for (uint32_t bad = SLAB_N_STATES; bad < 256; bad++) {
        uint32_t slot = bad;
        assert_false(ledger_word_is_valid(slot));
        assert_false(ledger_slab_change(&slot, slot, LEDGER_DAEMON, SLAB_EMPTY));
        assert_int_equal(slot, bad);
    }
}

static void the_sequence_wraps_into_itself(void **state)
{
    (void)state;
    uint32_t slot = 0xffffff00u | SLAB_IDLE;
    assert_true(ledger_slab_change(&slot, slot, LEDGER_CLIENT, SLAB_ACTIVE));
    assert_int_equal(slot, SLAB_ACTIVE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_side_makes_its_own_transitions_only),
        cmocka_unit_test(a_word_that_moved_on_is_not_changed),
        cmocka_unit_test(states_that_do_not_exist_are_refused),
        cmocka_unit_test(the_sequence_wraps_into_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
