/*
 * The budget of descriptors: what each purpose leaves for those after it, and that beyond it not
 * even "none more" fits, which is how the loop asks whether it has had too many already.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hakmemd/stats.h"

static void what_is_beyond_the_budget_does_not_fit(void **state)
{
    (void)state;
    const enum stats_fds_purpose purposes[] = {FDS_FOR_PIDFD, FDS_FOR_STOCK, FDS_FOR_LEASE,
                                               FDS_FOR_PEER};
    uint64_t last_free = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct stats stats = {.fd_limit = 20000};
        uint64_t n_free = stats_fds_free(&stats, purposes[i]);
        assert_true(n_free > last_free);
        last_free = n_free;
        assert_true(stats_fds_available(&stats, purposes[i], n_free));
        assert_false(stats_fds_available(&stats, purposes[i], n_free + 1));
        stats.n_ledger_fds = n_free;
        assert_int_equal(stats_fds_free(&stats, purposes[i]), 0);
        assert_true(stats_fds_available(&stats, purposes[i], 0));
        stats.n_ledger_fds++;
        assert_int_equal(stats_fds_free(&stats, purposes[i]), 0);
        assert_false(stats_fds_available(&stats, purposes[i], 0));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_beyond_the_budget_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
