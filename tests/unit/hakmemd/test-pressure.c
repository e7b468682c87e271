/* The ladder: each sign one step up and what it gives up, each quiet spell one down, no faster than
 * that. */
#include "fixture.h"

#include <stdio.h>

struct scene {
    struct fixture *f;
    struct pressure pressure;
};

static struct scene *scene_new(uint64_t quiet_ms, bool enabled)
{
    struct pressure_settings settings = {
        .enabled = enabled, .some_us = 150000, .quiet_ms = quiet_ms};
    struct scene *s = calloc(1, sizeof(*s));
    s->f = fixture_new(16 * MIB, 256 * MIB, 60000, 60000);
    assert_int_equal(pressure_init(&s->pressure, &settings, s->f->base, &s->f->pool, &s->f->reclaim,
                                   &s->f->leases.clients, &s->f->leases.refusing, &s->f->stats),
                     0);
    return s;
}

static void scene_free(struct scene *s)
{
    pressure_deinit(&s->pressure);
    fixture_free(s->f);
    free(s);
}

/* A sign, a second and more after the last. */
static void rise(struct scene *s)
{
    s->pressure.last_step_ms -= 2000;
    pressure_rise(&s->pressure);
}

static void test_ladder(void **state)
{
    (void)state;
    struct scene *s = scene_new(3600000, false);
    struct fixture *f = s->f;
    struct fixture_client c = fixture_client_new(f, 1);
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n_grants;
    assert_string_equal(pressure_source(&s->pressure), "none");
    assert_int_equal(lease_grant(&f->leases, c.client, 2, 2, 1, grants, &n_grants), 0);
    close(grants[0].fd);
    uint32_t *slots = c.ledger->slots + grants[0].extent->first_slot;
    ledger_slab_change(&slots[0], slots[0], LEDGER_CLIENT, SLAB_ACTIVE);
    ledger_slab_change(&slots[1], slots[1], LEDGER_CLIENT, SLAB_ACTIVE);
    ledger_slab_change(&slots[1], slots[1], LEDGER_CLIENT, SLAB_IDLE);
    pool_ask(&f->pool, 64 * MIB);
    fixture_wait(f, f->pool.n_jobs == 0 && f->pool.fresh_bytes >= 64 * MIB);

    rise(s); /* nothing more is made */
    assert_int_equal(f->pool.mode, POOL_NO_WARM);
    assert_int_equal(c.ledger->pressure, LEDGER_PRESSURE_NONE);
    /* A second sign at once is the same one. */
    pressure_rise(&s->pressure);
    assert_int_equal(s->pressure.step, 1);
    assert_int_equal(f->stats.pressure_events_total, 2);
    rise(s);
    assert_int_equal(f->pool.mode, POOL_NO_SPARE);
    assert_true(f->pool.fresh_bytes >= 64 * MIB);
    rise(s); /* down to the minimum, idle memory at once, clients are told */
    assert_int_equal(f->pool.fresh_bytes, 16 * MIB);
    assert_int_equal(c.ledger->pressure, LEDGER_PRESSURE_SOME);
    fixture_wait(f, ledger_word_state(ledger_slot_read(&slots[1])) == SLAB_RECLAIMED);
    assert_int_equal(ledger_word_state(ledger_slot_read(&slots[0])), SLAB_ACTIVE);
    assert_false(f->leases.refusing);
    rise(s); /* nothing is leased */
    assert_int_equal(c.ledger->pressure, LEDGER_PRESSURE_CRITICAL);
    assert_int_equal(lease_grant(&f->leases, c.client, 1, 1, 1, grants, &n_grants),
                     LEASE_NO_MEMORY);
    rise(s);
    assert_int_equal(s->pressure.step, PRESSURE_N_STEPS - 1);

    for (unsigned step = PRESSURE_N_STEPS - 1; step > 0; step--) {
        assert_int_equal(s->pressure.step, step);
        pressure_fall(&s->pressure);
    }
    pressure_fall(&s->pressure);
    assert_int_equal(s->pressure.step, 0);
    assert_int_equal(c.ledger->pressure, LEDGER_PRESSURE_NONE);
    assert_int_equal(f->reclaim.age_ms, f->reclaim.idle_ms);
    assert_int_equal(f->pool.mode, POOL_OPEN);
    assert_int_equal(lease_grant(&f->leases, c.client, 1, 1, 1, grants, &n_grants), 0);
    close(grants[0].fd);
    fixture_client_end(f, &c);
    scene_free(s);
}

static void test_falls_by_itself(void **state)
{
    (void)state;
    struct scene *s = scene_new(30, false);
    uint64_t since_ms = clock_now_ms();
    rise(s);
    rise(s);
    rise(s);
    fixture_wait(s->f, s->pressure.step == 0);
    assert_true(clock_now_ms() - since_ms >= 3 * 30 - 10);
    scene_free(s);
}

static void test_drained_whatever_the_pressure(void **state)
{
    (void)state;
    struct scene *s = scene_new(3600000, false);
    fixture_wait(s->f, s->f->pool.n_jobs == 0);
    pressure_set_drained(&s->pressure, true);
    assert_int_equal(s->f->stats.stock_bytes, 0);
    rise(s);
    pressure_fall(&s->pressure);
    assert_int_equal(s->f->pool.mode, POOL_CLOSED);
    pressure_set_drained(&s->pressure, false);
    fixture_wait(s->f, s->f->stats.stock_bytes == 16 * MIB);
    scene_free(s);
}

static void test_source(void **state)
{
    (void)state;
    setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1); /* systemd: off; MemAvailable then */
    struct scene *s = scene_new(1000, true);
    assert_string_equal(pressure_source(&s->pressure), "meminfo");
    scene_free(s);
    unsetenv("MEMORY_PRESSURE_WATCH");
    s = scene_new(1000, true);
    FILE *psi = fopen("/proc/pressure/memory", "re");
    assert_string_equal(pressure_source(&s->pressure), psi ? "psi" : "meminfo");
    if (psi)
        fclose(psi);
    scene_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ladder),
        cmocka_unit_test(test_falls_by_itself),
        cmocka_unit_test(test_drained_whatever_the_pressure),
        cmocka_unit_test(test_source),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
