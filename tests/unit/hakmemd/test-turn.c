/* How long the loop is away: what counts, whose doing it was, and that whoever has more to do than
 * a round has time for leaves it to the next. */
#include "fixture.h"

#include "hakmemd/turn.h"

static uint64_t cpu_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Time on a processor, whatever else the host runs. */
static void work(uint64_t us)
{
    uint64_t until_ns = cpu_now_ns() + us * 1000;
    while (cpu_now_ns() < until_ns)
        ;
}

static void test_whose_doing(void **state)
{
    (void)state;
    struct turn_figures before = turn_figures();
    turn_begin();
    work(2 * TURN_LATE_US);
    turn_end();
    struct turn_figures after = turn_figures();
    assert_int_equal(after.n_late, before.n_late + 1);
    assert_int_equal(after.n_late_own, before.n_late_own + 1);
    assert_true(after.longest_own_us >= 2 * TURN_LATE_US);
    /* Asleep is away, too, as for a lock. */
    turn_begin();
    usleep(2 * TURN_LATE_US);
    turn_end();
    after = turn_figures();
    assert_int_equal(after.n_late, before.n_late + 2);
    assert_int_equal(after.n_late_own, before.n_late_own + 2);
    /* What comes at once belongs to the same round, and one round is late once. */
    for (int i = 0; i < 3; i++) {
        turn_begin();
        work(2 * TURN_LATE_US);
        turn_end();
    }
    after = turn_figures();
    assert_in_range(after.n_late_own, before.n_late_own + 3, before.n_late_own + 5);
}

static void test_has_time(void **state)
{
    (void)state;
    assert_true(turn_has_time());
    turn_begin();
    work(TURN_SHORT_US + 1);
    assert_false(turn_has_time());
    turn_end();
    assert_true(turn_has_time());
}

static size_t length(const struct list *list)
{
    size_t n = 0;
    list_for_each(it, list)
    {
        n++;
    }
    return n;
}

/* Extents that come back when the round has been long: their proofs wait, and come one a round. */
static void test_proofs_wait(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(16 * MIB, 64 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n;
    assert_int_equal(lease_grant(&f->leases, c.client, 8, 1, 1, grants, &n), 0);
    close(grants[0].fd);
    while (length(&c.client->leases) < 6) {
        assert_int_equal(lease_grant(&f->leases, c.client, 1, 1, 1, grants, &n), 0);
        close(grants[0].fd);
    }
    turn_begin();
    work(TURN_SHORT_US + 1);
    list_for_each_safe(it, &c.client->leases)
    {
        assert_true(lease_return(&f->leases, c.client, list_entry(it, struct extent, link)->id));
    }
    assert_int_equal(length(&f->scrub.incoming), 6);
    assert_true(scrub_work_off(&f->scrub, 16));
    assert_int_equal(length(&f->scrub.incoming), 5);
    turn_end();
    assert_true(scrub_work_off(&f->scrub, 16));
    assert_int_equal(length(&f->scrub.incoming), 0);
    fixture_client_end(f, &c);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whose_doing),
        cmocka_unit_test(test_has_time),
        cmocka_unit_test(test_proofs_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
