/* How much stock is called for, in which sizes and on which node: figures alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "hakmemd/demand.h"

#define MIB ((uint64_t)1 << 20)

static uint64_t n_wanted[TOPOLOGY_MAX_NODES][DEMAND_N_ORDERS];

static uint64_t planned_on(unsigned node)
{
    uint64_t n_bytes = 0;
    for (unsigned order = 0; order < DEMAND_N_ORDERS; order++)
        n_bytes += n_wanted[node][order] * ((uint64_t)SUPERSLAB_BYTES << order);
    return n_bytes;
}

static uint64_t round_up(uint64_t n_bytes)
{
    return (n_bytes + SUPERSLAB_BYTES - 1) / SUPERSLAB_BYTES * SUPERSLAB_BYTES;
}

/* Whatever was asked for, the plan is as large as it is to be. */
static void test_the_sum(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int i = 0; i < 2000; i++) {
        struct demand demand = {0};
        uint64_t base = (uint64_t)(rand_r(&seed) % 300) * MIB;
        uint64_t spare = (uint64_t)(rand_r(&seed) % 300) * MIB;
        unsigned n_nodes = 1 + (unsigned)rand_r(&seed) % 4;
        for (int j = rand_r(&seed) % 20; j > 0; j--)
            demand_note(&demand, (unsigned)rand_r(&seed) % n_nodes,
                        (unsigned)rand_r(&seed) % DEMAND_N_ORDERS,
                        (uint64_t)(rand_r(&seed) % 64) * MIB);
        demand_plan(&demand, n_nodes, base, spare, n_wanted);
        uint64_t sum = 0;
        for (unsigned node = 0; node < n_nodes; node++)
            sum += planned_on(node);
        assert_true(sum >= base + spare);
        assert_true(sum <= round_up(base + spare) + (n_nodes - 1) * SUPERSLAB_BYTES);
    }
}

/* The minimum has something of each size; what comes on top is of the size that is asked for. */
static void test_sizes_follow_what_is_asked(void **state)
{
    (void)state;
    struct demand demand = {0};
    demand_plan(&demand, 1, 128 * MIB, 0, n_wanted);
    for (unsigned order = 0; order < DEMAND_N_ORDERS; order++)
        assert_true(n_wanted[0][order] > 0);
    uint64_t before[DEMAND_N_ORDERS];
    for (unsigned asked = 0; asked < DEMAND_N_ORDERS; asked++) {
        demand = (struct demand){0};
        demand_plan(&demand, 1, 128 * MIB, 0, n_wanted);
        for (unsigned order = 0; order < DEMAND_N_ORDERS; order++)
            before[order] = n_wanted[0][order];
        demand_note(&demand, 0, asked, 96 * MIB);
        demand_plan(&demand, 1, 128 * MIB, 96 * MIB, n_wanted);
        for (unsigned order = 0; order < DEMAND_N_ORDERS; order++)
            assert_int_equal(n_wanted[0][order],
                             before[order] +
                                 (order == asked ? 96 * MIB / (SUPERSLAB_BYTES << order) : 0));
    }
}

/* A mixture, and one that changes: old wishes fade. */
static void test_sizes_follow_a_change(void **state)
{
    (void)state;
    struct demand demand = {0};
    demand_note(&demand, 0, 0, 64 * MIB);
    demand_note(&demand, 0, 4, 64 * MIB);
    demand_plan(&demand, 1, 0, 128 * MIB, n_wanted);
    assert_int_equal(n_wanted[0][0], 32);
    assert_int_equal(n_wanted[0][4], 2);
    for (int second = 0; second < 100; second++) {
        demand_fade(&demand);
        demand_note(&demand, 0, 4, 64 * MIB);
    }
    demand_plan(&demand, 1, 0, 128 * MIB, n_wanted);
    assert_true(n_wanted[0][0] < 4);
    assert_true(n_wanted[0][4] >= 3);
}

/* The busiest second counts; it is there for the burst that comes again, and fades. */
static void test_the_target_follows_the_rate(void **state)
{
    (void)state;
    struct demand demand = {0};
    uint64_t last = 0;
    assert_true(demand_is_over(&demand));
    for (uint64_t rate = 8; rate <= 512; rate *= 2) {
        for (int i = 0; i < 8; i++)
            demand_note(&demand, 0, 0, rate / 8 * MIB);
        assert_int_equal(demand.peak_bytes, rate * MIB * 3 / 2);
        assert_true(demand.rate_bytes >= last);
        last = demand.rate_bytes;
        demand_fade(&demand);
    }
    assert_true(demand.rate_bytes > 64 * MIB);
    /* Ten seconds later enough is still there for the same burst, */
    for (int second = 0; second < 10; second++)
        demand_fade(&demand);
    assert_true(demand.peak_bytes >= 512 * MIB);
    assert_false(demand_is_over(&demand));
    /* and after some minutes nothing. */
    int seconds = 0;
    for (; !demand_is_over(&demand) && seconds < 1000; seconds++)
        demand_fade(&demand);
    assert_true(seconds > 60 && seconds < 300);
    assert_int_equal(demand.peak_bytes, 0);
    demand_plan(&demand, 1, 0, 0, n_wanted);
    assert_int_equal(planned_on(0), 0);
}

/* What comes round calls for room on the shelves, and for nothing new. */
static void test_reuse_calls_for_nothing_new(void **state)
{
    (void)state;
    struct demand demand = {0};
    demand_note(&demand, 0, 0, 8 * MIB);
    demand_note_recycled(&demand, 92 * MIB);
    assert_int_equal(demand.peak_bytes, 150 * MIB);
    assert_int_equal(demand.fresh_peak_bytes, 12 * MIB);
    for (int second = 0; second < 200; second++) {
        demand_fade(&demand);
        demand_note_recycled(&demand, 100 * MIB);
    }
    assert_int_equal(demand.peak_bytes, 150 * MIB);
    assert_true(demand.fresh_peak_bytes < MIB);
    demand_ask(&demand, 200 * MIB); /* by hand: that much is to be there */
    assert_int_equal(demand.fresh_peak_bytes, 200 * MIB);
    demand_forget(&demand);
    assert_int_equal(demand.fresh_peak_bytes, 0);
}

static void test_nodes_follow_who_asks(void **state)
{
    (void)state;
    struct demand demand = {0};
    demand_plan(&demand, 2, 64 * MIB, 0, n_wanted);
    assert_int_equal(planned_on(0), 32 * MIB);
    assert_int_equal(planned_on(1), 32 * MIB);
    demand_note(&demand, 1, 2, 48 * MIB);
    demand_note(&demand, 0, 0, 16 * MIB);
    demand_plan(&demand, 2, 64 * MIB, 64 * MIB, n_wanted);
    assert_int_equal(planned_on(0), 48 * MIB);
    assert_int_equal(planned_on(1), 80 * MIB);
    demand_forget(&demand);
    demand_plan(&demand, 2, 64 * MIB, 64 * MIB, n_wanted); /* asked for by hand */
    assert_int_equal(planned_on(0), 64 * MIB);
    assert_int_equal(planned_on(1), 64 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_sum),
        cmocka_unit_test(test_sizes_follow_what_is_asked),
        cmocka_unit_test(test_sizes_follow_a_change),
        cmocka_unit_test(test_the_target_follows_the_rate),
        cmocka_unit_test(test_reuse_calls_for_nothing_new),
        cmocka_unit_test(test_nodes_follow_who_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
