/* The stock follows demand: how much, which sizes, on which NUMA node. (What makes up the figures:
 * test-demand.c.) */
#include "fixture.h"

static struct lease_grant grants[CONN_MAX_FDS];
static size_t n_grants;

/* One lease; its extents' descriptors are closed. */
static void lease(struct fixture *f, struct fixture_client *c, uint32_t n_slabs, uint32_t run_slabs)
{
    assert_int_equal(
        lease_grant(&f->leases, c->client, n_slabs, run_slabs, CONN_MAX_FDS, grants, &n_grants), 0);
    for (size_t i = 0; i < n_grants; i++)
        close(grants[i].fd);
}

static void lease_from(struct fixture *f, struct fixture_client *c, unsigned cpu, uint32_t n_slabs)
{
    lease_set_cpu(&f->leases, c->client, cpu + 1);
    lease(f, c, n_slabs, n_slabs);
}

/* Everything that is wanted is there, and nothing is on its way. */
static void settle(struct fixture *f)
{
    fixture_wait(f,
                 f->pool.n_jobs == 0 && f->stats.scrubbing_bytes == 0 &&
                     f->pool.fresh_bytes + f->pool.recycled_bytes >= pool_target_bytes(&f->pool));
}

static uint64_t bytes_on(struct fixture *f, unsigned node)
{
    struct pool_node shown;
    pool_describe_node(&f->pool, node, &shown);
    return shown.fresh_bytes;
}

/* ---- how much, and which ---- */

/* A burst that finds little is served cold; the same burst again finds what it needs. */
static void test_a_burst_is_absorbed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8 * MIB, 512 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1), again = fixture_client_new(f, 1);
    settle(f);
    for (int i = 0; i < 3; i++)
        lease(f, &c, 16, 16);
    assert_int_equal(f->stats.cold_leases_total, 3);
    settle(f);
    assert_true(f->pool.fresh_bytes >= 96 * MIB);
    for (int i = 0; i < 3; i++)
        lease(f, &again, 16, 16);
    assert_int_equal(f->stats.cold_leases_total, 3);
    fixture_client_end(f, &c);
    fixture_client_end(f, &again);
    fixture_free(f);
}

static void test_an_idle_host_shrinks(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(24 * MIB, 512 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    for (int i = 0; i < 4; i++)
        lease(f, &c, 16, 16);
    settle(f);
    assert_true(f->pool.fresh_bytes >= 128 * MIB);
    fixture_client_end(f, &c);
    fixture_wait(f, f->stats.leased_bytes + f->stats.scrubbing_bytes == 0);
    uint64_t last = f->pool.fresh_bytes, created = f->stats.created_bytes_total;
    unsigned n_steps = 0;
    for (int second = 0; second < 400; second++) {
        pool_tick(&f->pool);
        assert_true(f->pool.fresh_bytes <= last);
        n_steps += f->pool.fresh_bytes < last;
        last = f->pool.fresh_bytes;
    }
    assert_true(n_steps > 1);
    /* Down to the minimum; of that, what it had not in the right sizes is made again, once. */
    assert_true(last <= 24 * MIB);
    settle(f);
    pool_tick(&f->pool); /* what was on its way when demand ended */
    settle(f);
    assert_int_equal(f->pool.fresh_bytes, 24 * MIB);
    assert_true(f->stats.created_bytes_total - created <= 48 * MIB);
    created = f->stats.created_bytes_total;
    for (int second = 0; second < 100; second++)
        pool_tick(&f->pool);
    assert_int_equal(f->pool.n_jobs, 0);
    assert_int_equal(f->stats.created_bytes_total, created);
    assert_int_equal(f->pool.fresh_bytes, 24 * MIB);
    fixture_free(f);
}

/* Bursts five seconds apart: the stock stays, it is not dropped and made in between. */
static void test_bursts_that_come_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8 * MIB, 512 * MIB, 0, 60000);
    uint64_t discarded = 0, cold = 0;
    for (int burst = 0; burst < 12; burst++) {
        struct fixture_client c = fixture_client_new(f, 1);
        for (int i = 0; i < 3; i++)
            lease(f, &c, 16, 16);
        settle(f);
        fixture_client_end(f, &c);
        fixture_wait(f, f->stats.leased_bytes + f->stats.scrubbing_bytes == 0);
        if (burst == 0) {
            discarded = f->stats.discarded_bytes_total;
            cold = f->stats.cold_leases_total;
        }
        for (int second = 0; second < 5; second++)
            pool_tick(&f->pool);
        settle(f);
    }
    /* What came back from the clients (recycled_ms is 0), and nothing of the stock. */
    assert_int_equal(f->stats.discarded_bytes_total - discarded, 11 * 96 * MIB);
    assert_int_equal(f->stats.cold_leases_total, cold);
    fixture_free(f);
}

static void test_sizes(void **state)
{
    (void)state;
    for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
        struct fixture *f = fixture_new(0, 512 * MIB, 0, 60000);
        struct fixture_client c = fixture_client_new(f, 1);
        for (unsigned i = 0; i < 32u >> order; i++)
            lease(f, &c, 1u << order, 1u << order);
        settle(f);
        /* 64 MiB and half as much again, less what a second or two have faded; what does not make
         * a whole extent is in smaller ones. */
        uint64_t others =
            f->pool.fresh_bytes - pool_n_fresh(&f->pool, order) * (SUPERSLAB_BYTES << order);
        assert_true(pool_n_fresh(&f->pool, order) >= 32u >> order);
        assert_true(others < SUPERSLAB_BYTES << order);
        fixture_client_end(f, &c);
        fixture_free(f);
    }
}

/* ---- users ---- */

/* Leases, in whatever sizes there are, until one is cold; gives all of it back. Bytes that came
 * from the stock. */
static uint64_t take_all(struct fixture *f, struct fixture_client *c)
{
    uint64_t cold = f->stats.cold_leases_total, n_bytes = 0;
    do {
        assert_int_equal(lease_grant(&f->leases, c->client, 16, 1, 1, grants, &n_grants), 0);
        close(grants[0].fd);
        if (f->stats.cold_leases_total == cold)
            n_bytes += extent_bytes(grants[0].extent);
    } while (f->stats.cold_leases_total == cold);
    list_for_each_safe(it, &c->client->leases)
    {
        assert_true(lease_return(&f->leases, c->client, list_entry(it, struct extent, link)->id));
    }
    return n_bytes;
}

/* One user empties the stock again and again. As long as nobody else asks it may; from then on the
 * other finds what it asks for, and the greedy one still gets what the other leaves. */
static void test_no_user_takes_all(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 64 * MIB, 0, 60000);
    struct fixture_client greedy = fixture_client_new(f, 1), other = fixture_client_new(f, 2);
    unsigned n_cold = 0;
    settle(f);
    assert_int_equal(take_all(f, &greedy), 64 * MIB);
    for (int round = 0; round < 20; round++) {
        uint64_t cold = f->stats.cold_leases_total;
        lease(f, &other, 1, 1);
        n_cold += f->stats.cold_leases_total > cold;
        assert_true(lease_return(&f->leases, other.client, grants[0].extent->id));
        pool_tick(&f->pool);
        settle(f);
        assert_true(take_all(f, &greedy) >= 32 * MIB);
    }
    assert_int_equal(n_cold, 1); /* its first question, which nobody could know of */
    /* When it has been quiet for a while, its share is the other's. */
    for (int second = 0; second < 60; second++)
        pool_tick(&f->pool);
    settle(f);
    assert_int_equal(take_all(f, &greedy), 64 * MIB);
    fixture_client_end(f, &greedy);
    fixture_client_end(f, &other);
    fixture_free(f);
}

/* Many users who all want everything get about the same. */
static void test_equal_shares(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 64 * MIB, 0, 60000);
    struct fixture_client clients[4];
    uint64_t warm[4] = {0}, sum = 0;
    for (unsigned i = 0; i < 4; i++)
        clients[i] = fixture_client_new(f, 10 + i);
    for (int round = 0; round < 24; round++) {
        settle(f);
        for (unsigned i = 0; i < 4; i++) /* always the same one first */
            warm[i] += take_all(f, &clients[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        sum += warm[i];
    print_message("%llu %llu %llu %llu MiB\n", (unsigned long long)(warm[0] / MIB),
                  (unsigned long long)(warm[1] / MIB), (unsigned long long)(warm[2] / MIB),
                  (unsigned long long)(warm[3] / MIB));
    for (unsigned i = 0; i < 4; i++)
        assert_true(warm[i] >= sum / 8);
    for (unsigned i = 0; i < 4; i++)
        fixture_client_end(f, &clients[i]);
    fixture_free(f);
}

/* ---- nodes ---- */

/* The second is one that no kernel has: its memory comes from wherever, which must not matter. */
static const struct topology two_nodes = {
    .n_nodes = 2,
    .nodes = {{.id = 0, .by_distance = {0, 1}}, {.id = 1000, .by_distance = {1, 0}}},
    .node_of_cpu = {[0] = 0, [1] = 1},
};

static void test_stock_on_each_node(void **state)
{
    (void)state;
    struct fixture *f = fixture_new_on(&two_nodes, 64 * MIB, 512 * MIB, 0, 60000);
    settle(f);
    assert_int_equal(bytes_on(f, 0), 32 * MIB);
    assert_int_equal(bytes_on(f, 1), 32 * MIB);
    /* What is on node 0 really is, and of the other it is seen that it is not. */
    assert_int_equal(f->stats.misplaced_bytes_total, 32 * MIB);
    fixture_free(f);
}

static void test_leases_from_the_own_node(void **state)
{
    (void)state;
    struct fixture *f = fixture_new_on(&two_nodes, 64 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    settle(f);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        lease_from(f, &c, cpu, 4);
        assert_int_equal(grants[0].extent->node, cpu);
        assert_int_equal(grants[0].extent->n_slabs, 4);
    }
    assert_int_equal(f->stats.remote_leases_total, 0);
    /* Not told: any, and none of it is a shortfall. */
    lease_set_cpu(&f->leases, c.client, 0);
    lease(f, &c, 2, 2);
    assert_int_equal(f->stats.remote_leases_total, 0);
    /* Its own shelf, too: the extents that are returned go to who is near them. */
    uint64_t ids[2];
    settle(f);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        lease_from(f, &c, cpu, 1);
        ids[cpu] = grants[0].extent->id;
    }
    for (unsigned cpu = 0; cpu < 2; cpu++)
        assert_true(lease_return(&f->leases, c.client, ids[cpu]));
    fixture_wait(f, f->pool.recycled_bytes == 2 * SUPERSLAB_BYTES);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        lease_from(f, &c, cpu, 1);
        assert_int_equal(grants[0].extent->id, ids[cpu]);
    }
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* A node's stock is out: the other's is taken before anything cold, and it is counted. */
static void test_shortfall(void **state)
{
    (void)state;
    struct fixture *f = fixture_new_on(&two_nodes, 64 * MIB, 64 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    struct pool_node shown;
    settle(f);
    pool_set_mode(&f->pool, POOL_NO_WARM); /* nothing is made meanwhile */
    while (bytes_on(f, 1) > 0)
        lease_from(f, &c, 1, 1), lease_set_cpu(&f->leases, c.client, 2), lease(f, &c, 16, 1);
    uint64_t remote = f->stats.remote_leases_total;
    assert_int_equal(f->stats.cold_leases_total, 0);
    lease_set_cpu(&f->leases, c.client, 2);
    lease(f, &c, 1, 1);
    assert_int_equal(grants[0].extent->node, 0);
    assert_int_equal(f->stats.remote_leases_total, remote + 1);
    pool_describe_node(&f->pool, 1, &shown);
    assert_int_equal(shown.n_remote, remote + 1);
    pool_describe_node(&f->pool, 0, &shown);
    assert_int_equal(shown.n_remote, 0);
    while (f->pool.fresh_bytes > 0)
        lease(f, &c, 16, 1);
    lease(f, &c, 1, 1);
    assert_int_equal(f->stats.cold_leases_total, 1);
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_stock_where_it_is_asked_for(void **state)
{
    (void)state;
    struct fixture *f = fixture_new_on(&two_nodes, 16 * MIB, 512 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    settle(f);
    for (int i = 0; i < 4; i++)
        lease_from(f, &c, 1, 16);
    settle(f);
    fixture_wait(f, f->pool.n_jobs == 0);
    assert_int_equal(bytes_on(f, 0), 8 * MIB);
    assert_true(bytes_on(f, 1) >= 120 * MIB);
    fixture_client_end(f, &c);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_is_absorbed),
        cmocka_unit_test(test_an_idle_host_shrinks),
        cmocka_unit_test(test_bursts_that_come_again),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_no_user_takes_all),
        cmocka_unit_test(test_equal_shares),
        cmocka_unit_test(test_stock_on_each_node),
        cmocka_unit_test(test_leases_from_the_own_node),
        cmocka_unit_test(test_shortfall),
        cmocka_unit_test(test_stock_where_it_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
