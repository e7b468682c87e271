/* The slot allocator against a plain array, at random; and its limits. */
#include "fixture.h"

#include "hakmemd/slots.h"

#define N_SLOTS  1000u
#define N_ROUNDS 200000

struct run {
    uint32_t first;
    uint32_t n;
};

static void test_random(void **state)
{
    (void)state;
    static unsigned char taken[N_SLOTS];
    static struct run runs[N_SLOTS];
    size_t n_runs = 0, n_refused = 0;
    struct slots *slots = slots_new(N_SLOTS);
    srand(42);
    for (int round = 0; round < N_ROUNDS; round++) {
        /* Fill up and run dry in turns. */
        bool filling = round / 2000 % 2 == 0;
        if (n_runs == 0 || rand() % 3 < (filling ? 2 : 1)) {
            uint32_t n = 1u << rand() % 5;
            uint32_t first = slots_acquire(slots, n);
            if (first == LEDGER_SLOT_NONE) {
                n_refused++;
                /* Only if there really is no aligned run. */
                for (uint32_t at = 0; at + n <= N_SLOTS; at += n) {
                    uint32_t i = 0;
                    while (i < n && !taken[at + i])
                        i++;
                    assert_true(i < n);
                }
                continue;
            }
            assert_true(first + n <= N_SLOTS && first % n == 0);
            for (uint32_t i = 0; i < n; i++) {
                assert_false(taken[first + i]);
                taken[first + i] = 1;
            }
            runs[n_runs++] = (struct run){first, n};
        } else {
            size_t victim = (size_t)rand() % n_runs;
            slots_return(slots, runs[victim].first, runs[victim].n);
            memset(taken + runs[victim].first, 0, runs[victim].n);
            runs[victim] = runs[--n_runs];
        }
    }
    assert_true(n_refused > 0);
    slots_free(slots);
}

static void test_all_of_them(void **state)
{
    (void)state;
    struct slots *slots = slots_new(70);
    for (uint32_t i = 0; i < 70; i++)
        assert_int_equal(slots_acquire(slots, 1), i);
    assert_int_equal(slots_acquire(slots, 1), LEDGER_SLOT_NONE);
    slots_return(slots, 69, 1);
    assert_int_equal(slots_acquire(slots, 2), LEDGER_SLOT_NONE);
    assert_int_equal(slots_acquire(slots, 1), 69);
    slots_free(slots);
    slots_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_all_of_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
