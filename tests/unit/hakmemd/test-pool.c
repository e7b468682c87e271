/*
 * The stock and the way through it: filling, leasing, recycling, orphans, quotas, shrinking.
 *
 * Longer than other files: one set of figures, which every test leads through another turn.
 */
#include "fixture.h"

#include <semaphore.h>
#include <sys/stat.h>

#include "hakmemd/prewarm.h"
#include "hakmemd/turn.h"

static struct lease_grant grants[CONN_MAX_FDS];
static size_t n_grants;

static int lease(struct fixture *f, struct fixture_client *c, uint32_t n_slabs, uint32_t run_slabs)
{
    return lease_grant(&f->leases, c->client, n_slabs, run_slabs, CONN_MAX_FDS, grants, &n_grants);
}

static void close_grants(void)
{
    for (size_t i = 0; i < n_grants; i++)
        close(grants[i].fd);
}

static uint64_t granted_slabs(void)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_grants; i++)
        n += grants[i].extent->n_slabs;
    return n;
}

static bool is_settled(struct fixture *f)
{
    return f->pool.n_jobs == 0 && f->pool.fresh_bytes >= f->pool.settings.min_bytes &&
           f->stats.scrubbing_bytes == 0 && !f->pool.sheds_fresh && f->pool.shed_recycled_ms == 0;
}

static void test_fills_to_the_minimum(void **state)
{
    (void)state;
    static const uint64_t min_mib[] = {0, 2, 3, 8, 10, 24, 64, 100, 200};
    for (size_t i = 0; i < sizeof(min_mib) / sizeof(min_mib[0]); i++) {
        struct fixture *f = fixture_new(min_mib[i] * MIB, 512 * MIB, 60000, 60000);
        fixture_wait(f, is_settled(f));
        assert_int_equal(f->pool.fresh_bytes, (min_mib[i] + 1) / 2 * 2 * MIB);
        assert_int_equal(f->stats.created_bytes_total, f->stats.stock_bytes);
        fixture_free(f);
    }
}

static void test_never_above_the_maximum(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(24 * MIB, 40 * MIB, 60000, 60000);
    assert_int_equal(pool_ask(&f->pool, 1000 * MIB), 40 * MIB);
    fixture_wait(f, is_settled(f));
    assert_true(f->stats.stock_bytes <= 40 * MIB);
    fixture_free(f);
}

static void test_no_stock_at_all(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 0, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    assert_int_equal(lease(f, &c, 16, 1), 0);
    assert_int_equal(n_grants, 1);
    assert_int_equal(granted_slabs(), 16);
    assert_int_equal(f->stats.cold_leases_total, 1);
    close_grants();
    fixture_client_end(f, &c);
    fixture_wait(f, f->stats.leased_bytes + f->stats.scrubbing_bytes == 0);
    assert_int_equal(f->stats.stock_bytes, 0);
    fixture_free(f);
}

static void test_grants(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 1024 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    for (unsigned order = 0; order < 4; order++)
        for (int i = 0; i < 4; i++)
            lease(f, &c, 1u << order, 1u << order), close_grants();
    fixture_wait(f, f->pool.n_jobs == 0);
    for (uint32_t run = 1; run <= 16; run *= 2) {
        for (uint32_t n = 1; n <= 40; n += 3) {
            assert_int_equal(lease(f, &c, n, run), 0);
            close_grants();
            assert_true(n_grants >= 1 && n_grants <= CONN_MAX_FDS);
            /* Never more than asked, but for a run that is longer than that. */
            assert_true(granted_slabs() <= (n > run ? n : run));
            for (size_t i = 0; i < n_grants; i++) {
                struct extent *extent = grants[i].extent;
                assert_true(extent->n_slabs >= run);
                assert_int_equal(extent->state, EXTENT_LEASED);
                assert_ptr_equal(extent->charge.user, c.client->user);
                assert_int_equal(extent->first_slot % extent->n_slabs, 0);
            }
            for (size_t i = 0; i < n_grants; i++)
                assert_true(lease_return(&f->leases, c.client, grants[i].extent->id));
            fixture_wait(f, c.client->user->used[QUOTA_BYTES] < 256 * MIB);
        }
    }
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_recycled_for_its_user_alone(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1), other = fixture_client_new(f, 2);
    fixture_wait(f, is_settled(f));
    assert_int_equal(lease(f, &c, 4, 4), 0);
    uint64_t id = grants[0].extent->id;
    char *memory =
        mmap(NULL, 4 * SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, grants[0].fd, 0);
    memset(memory, 0x77, 4 * SUPERSLAB_BYTES);
    munmap(memory, 4 * SUPERSLAB_BYTES);
    close_grants();
    assert_true(lease_return(&f->leases, c.client, id));
    assert_int_equal(f->stats.scrubbing_bytes, 4 * SUPERSLAB_BYTES);
    fixture_wait(f, f->pool.recycled_bytes == 4 * SUPERSLAB_BYTES);
    assert_int_equal(f->stats.scrubbed_bytes_total, 4 * SUPERSLAB_BYTES);
    assert_int_equal(c.client->user->used[QUOTA_BYTES], 4 * SUPERSLAB_BYTES);
    /* Not for the other user, */
    assert_int_equal(lease(f, &other, 4, 4), 0);
    assert_true(grants[0].extent->id != id);
    close_grants();
    /* but for the same one, and clean. */
    assert_int_equal(lease(f, &c, 4, 4), 0);
    assert_int_equal(grants[0].extent->id, id);
    assert_int_equal(f->stats.reused_bytes_total, 4 * SUPERSLAB_BYTES);
    assert_int_equal(c.client->user->used[QUOTA_BYTES], 4 * SUPERSLAB_BYTES);
    memory = mmap(NULL, 4 * SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, grants[0].fd, 0);
    assert_int_equal(memory[0], 0);
    assert_int_equal(memcmp(memory, memory + 1, 4 * SUPERSLAB_BYTES - 1), 0);
    munmap(memory, 4 * SUPERSLAB_BYTES);
    close_grants();
    fixture_client_end(f, &c);
    fixture_client_end(f, &other);
    fixture_free(f);
}

/* What comes round is demand for room on the shelves alone: nothing is made for it. */
static void test_recycled_is_no_fresh_demand(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    const struct demand *demand = &f->pool.demand;
    fixture_wait(f, is_settled(f));
    assert_int_equal(lease(f, &c, 16, 16), 0);
    close_grants();
    unsigned order = extent_order(16);
    uint64_t fresh = demand->bytes[0][order], fresh_peak = demand->fresh_peak_bytes;
    assert_int_equal(fresh, 32 * MIB);
    for (unsigned i = 0; i < 16; i++) {
        assert_true(lease_return(&f->leases, c.client, grants[0].extent->id));
        fixture_wait(f, f->pool.recycled_bytes == 32 * MIB);
        uint64_t second = demand->second_bytes;
        assert_int_equal(lease(f, &c, 16, 16), 0);
        close_grants();
        assert_int_equal(demand->second_bytes, second + 32 * MIB);
        assert_true(demand->bytes[0][order] <= fresh && demand->fresh_peak_bytes <= fresh_peak);
    }
    assert_int_equal(f->stats.reused_bytes_total, 16 * 32 * MIB);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* A SuperSlab of which the client has given a page back comes round on a 2 MiB page again. */
static void test_holes_are_made_anew(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    struct memfd_mapping mapping;
    fixture_wait(f, is_settled(f));
    assert_int_equal(lease(f, &c, 2, 2), 0);
    struct extent *extent = grants[0].extent;
    if (extent->huge_slabs != 3) { /* this host has none to give */
        close_grants();
        fixture_client_end(f, &c);
        fixture_free(f);
        skip();
    }
    assert_int_equal(memfd_map(grants[0].fd, 2, &mapping), 0);
    memset(mapping.bytes, 0x5a, mapping.n_bytes);
    memfd_unmap(&mapping);
    assert_int_equal(
        fallocate(grants[0].fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
    assert_int_equal(memfd_find_holes(grants[0].fd, 2), 1);
    close_grants();
    assert_true(lease_return(&f->leases, c.client, extent->id));
    fixture_wait(f, f->pool.recycled_bytes == 4 * MIB);
    assert_int_equal(memfd_find_holes(extent->fd, 2), 0);
    assert_int_equal(extent->huge_slabs, 3);
    assert_int_equal(memfd_map(extent->fd, 2, &mapping), 0);
    for (size_t at = 0; at < mapping.n_bytes; at++)
        assert_true(mapping.bytes[at] == 0);
    memfd_unmap(&mapping);
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_recycled_grows_old(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(32 * MIB, 512 * MIB, 20, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    assert_int_equal(lease(f, &c, 1, 1), 0);
    close_grants();
    assert_true(lease_return(&f->leases, c.client, grants[0].extent->id));
    fixture_wait(f, f->stats.scrubbed_bytes_total > 0);
    fixture_wait(f, f->pool.recycled_bytes == 0 && f->stats.scrubbing_bytes == 0);
    assert_int_equal(c.client->user->used[QUOTA_BYTES], 0);
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_orphan(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(32 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1), other = fixture_client_new(f, 1);
    assert_int_equal(lease(f, &c, 2, 2), 0);
    int kept = grants[0].fd;
    fixture_wait(f, !grants[0].extent->care.in_flight);
    fixture_client_end(f, &c);
    assert_int_equal(f->stats.orphan_bytes, 2 * SUPERSLAB_BYTES);
    assert_int_equal(other.client->user->used[QUOTA_BYTES], 2 * SUPERSLAB_BYTES);
    fixture_wait(f, list_is_empty(&f->scrub.orphans[0]) && list_is_empty(&f->scrub.orphans[1]) &&
                        list_is_empty(&f->scrub.orphans[2]));
    assert_int_equal(f->stats.orphan_bytes, 2 * SUPERSLAB_BYTES);
    close(kept);
    fixture_wait(f, f->stats.orphan_bytes == 0);
    fixture_client_end(f, &other);
    fixture_free(f);
}

static void test_limits(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1), second = fixture_client_new(f, 1);
    quota_set(&f->quota, "bytes_per_client", 12 * MIB, NULL);
    quota_set(&f->quota, "bytes_per_user", 20 * MIB, NULL);
    /* As much as fits, in smaller extents. */
    assert_int_equal(lease(f, &c, 16, 1), 0);
    close_grants();
    while (c.client->leased_bytes < 12 * MIB) {
        assert_int_equal(lease(f, &c, 16, 1), 0);
        close_grants();
    }
    assert_int_equal(lease(f, &c, 1, 1), LEASE_CLIENT_LIMIT);
    while (second.client->leased_bytes < 8 * MIB) {
        assert_int_equal(lease(f, &second, 2, 1), 0);
        close_grants();
    }
    assert_int_equal(lease(f, &second, 1, 1), LEASE_USER_LIMIT);
    assert_int_equal(f->stats.denied_quota_total, 2);
    assert_int_equal(c.client->user->used[QUOTA_BYTES], 20 * MIB);
    fixture_client_end(f, &c);
    fixture_wait(f, f->stats.orphan_bytes + f->stats.scrubbing_bytes == 0);
    /* What is recycled for the user counts, and makes room when it is of no use. */
    assert_int_equal(lease(f, &second, 1, 1), 0);
    close_grants();
    fixture_client_end(f, &second);
    fixture_free(f);
}

/* A client may let go of thousands at once: the loop sees to some, then to others, and so on. What
 * waits is charged, and makes room for its user when that is asked for. */
static void test_many_come_back_at_once(void **state)
{
    (void)state;
    enum { N = 48 };
    struct fixture *f = fixture_new(0, 512 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1), second = fixture_client_new(f, 1);
    uint64_t ids[N];
    quota_set(&f->quota, "bytes_per_user", N * SUPERSLAB_BYTES, NULL);
    for (int i = 0; i < N; i++) {
        assert_int_equal(lease(f, &c, 1, 1), 0);
        ids[i] = grants[0].extent->id;
        close_grants();
    }
    assert_int_equal(lease(f, &second, 1, 1), LEASE_USER_LIMIT);
    for (int i = 0; i < N; i++)
        assert_true(lease_return(&f->leases, c.client, ids[i]));
    assert_int_equal(c.client->leased_bytes, 0);
    assert_true(f->stats.leased_bytes > 0); /* not all at once */
    assert_false(lease_return(&f->leases, c.client, ids[N - 1]));
    /* All of it can be had again at once. */
    for (int i = 0; i < N; i++) {
        assert_int_equal(lease(f, &second, 1, 1), 0);
        close_grants();
    }
    assert_int_equal(lease(f, &second, 1, 1), LEASE_USER_LIMIT);
    fixture_client_end(f, &second);
    /* Where nobody asks, the loop does it by itself. */
    fixture_wait(f, f->stats.leased_bytes == 0);
    assert_int_equal(c.client->user->used[QUOTA_BYTES], 0);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* A client whose free slots lie in pieces, as it may arrange, gets smaller extents, or is refused;
 * nothing of the stock is thrown away for what does not fit. */
static void test_slots_in_pieces(void **state)
{
    (void)state;
    enum { N = EXTENT_MAX_SLABS };
    struct fixture *f = fixture_new(64 * MIB, 512 * MIB, 0, 60000);
    quota_set(&f->quota, "bytes_per_client", N * SUPERSLAB_BYTES, NULL);
    struct fixture_client c = fixture_client_new(f, 1);
    uint64_t ids[N];
    assert_int_equal(c.client->n_slots, N);
    for (int i = 0; i < N; i++) {
        assert_int_equal(lease(f, &c, 1, 1), 0);
        ids[grants[0].extent->first_slot] = grants[0].extent->id;
        close_grants();
    }
    for (int i = 0; i < N; i += 2)
        assert_true(lease_return(&f->leases, c.client, ids[i]));
    fixture_wait(f, is_settled(f) && f->stats.leased_bytes == N / 2 * SUPERSLAB_BYTES);
    uint64_t n_discarded = f->stats.discarded_bytes_total;
    assert_int_equal(lease(f, &c, 2, 2), LEASE_CLIENT_LIMIT);
    assert_int_equal(lease(f, &c, 8, 1), 0);
    assert_int_equal(granted_slabs(), n_grants); /* single ones */
    close_grants();
    assert_int_equal(f->stats.discarded_bytes_total, n_discarded);
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_descriptors_run_out(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 512 * MIB, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    /* stats.c: 40 its own, 48 in reserve, an eighth for peers, the client's ledger, three */
    f->stats.fd_limit = 105;
    int r, n = 0;
    while ((r = lease(f, &c, 1, 1)) == 0) {
        close_grants();
        n++;
    }
    assert_int_equal(r, LEASE_NO_MEMORY);
    assert_int_equal(n, 3);
    assert_int_equal(f->stats.denied_memory_total, 1);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* A user that takes all descriptors that it can leaves some for the next one, and that one for the
 * next; and what it gives back it may have again. */
static void test_descriptors_are_shared(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 512 * MIB, 0, 60000);
    struct fixture_client c[4];
    unsigned n[4] = {0};
    f->stats.fd_limit = 320; /* 40 its own, 48 in reserve, 40 for peers, 4 ledgers */
    for (unsigned i = 0; i < 4; i++)
        c[i] = fixture_client_new(f, i + 1);
    for (unsigned i = 0; i < 4; i++) {
        int r;
        for (; (r = lease(f, &c[i], 1, 1)) == 0; n[i]++)
            close_grants();
        assert_int_equal(r, LEASE_FDS_LIMIT);
        assert_int_equal(f->stats.denied_quota_total, i + 1);
    }
    assert_int_equal(n[0], 320 - 40 - 48 - 40 - 4 - 320 / 16);
    assert_int_equal(n[1], 10); /* half of what was left, */
    assert_int_equal(n[2], 5);  /* and so on, */
    assert_int_equal(n[3], 4);  /* and as much for everybody while there is any */
    assert_true(lease_return(&f->leases, c[1].client,
                             list_entry(c[1].client->leases.next, struct extent, link)->id));
    fixture_wait(f, f->stats.n_extents == n[0] + n[1] + n[2] + n[3] - 1);
    assert_int_equal(lease(f, &c[0], 1, 1), LEASE_FDS_LIMIT);
    assert_int_equal(lease(f, &c[2], 1, 1), LEASE_FDS_LIMIT);
    assert_int_equal(lease(f, &c[3], 1, 1), LEASE_FDS_LIMIT);
    for (unsigned i = 0; i < 4; i++)
        fixture_client_end(f, &c[i]);
    fixture_free(f);
}

static void test_modes(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(32 * MIB, 512 * MIB, 60000, 60000);
    fixture_wait(f, is_settled(f));
    pool_ask(&f->pool, 128 * MIB);
    fixture_wait(f, f->pool.fresh_bytes >= 112 * MIB && f->pool.n_jobs == 0);
    pool_set_mode(&f->pool, POOL_MINIMUM);
    fixture_wait(f, f->pool.n_jobs == 0 && !f->pool.sheds_fresh);
    assert_true(f->pool.fresh_bytes <= 48 * MIB);
    pool_set_mode(&f->pool, POOL_CLOSED);
    fixture_wait(f, f->stats.stock_bytes == 0);
    pool_set_mode(&f->pool, POOL_OPEN);
    fixture_wait(f, is_settled(f));
    fixture_free(f);
}

/* Dropping and making must not chase each other: settled once, it stays. */
/* What a lease took is made again when leases have paused, so as not to get into the program's way;
 * at once if there is little left. */
static void test_refills_when_it_is_calm(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    fixture_wait(f, is_settled(f));
    assert_int_equal(lease(f, &c, 1, 1), 0);
    close_grants();
    event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(f->pool.n_jobs, 0);
    assert_true(event_pending(f->pool.refill_event, EV_TIMEOUT, NULL));
    fixture_wait(f, is_settled(f));
    assert_int_equal(lease(f, &c, 20, 1), 0);
    close_grants();
    assert_true(f->stats.stock_bytes < 32 * MIB);
    event_base_loop(f->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_true(f->pool.n_jobs > 0);
    fixture_wait(f, is_settled(f));
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_does_not_swing(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(64 * MIB, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(lease(f, &c, 1, 1), 0);
        close_grants();
    }
    fixture_wait(f, f->pool.n_jobs == 0 && f->pool.demand.peak_bytes > 0);
    fixture_client_end(f, &c);
    fixture_wait(f, is_settled(f));
    pool_trim(&f->pool);
    fixture_wait(f, is_settled(f));
    uint64_t created = f->stats.created_bytes_total, discarded = f->stats.discarded_bytes_total;
    for (int i = 0; i < 100; i++) {
        pool_set_mode(&f->pool, i % 2 ? POOL_OPEN : POOL_NO_SPARE);
        event_base_loop(f->base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(f->stats.created_bytes_total, created);
    assert_int_equal(f->stats.discarded_bytes_total, discarded);
    fixture_free(f);
}

struct gate {
    struct worker_job job;
    sem_t begun;
    sem_t open;
    bool is_done;
};

static void wait_at_gate(struct worker_job *job)
{
    struct gate *gate = (struct gate *)(void *)job;
    sem_post(&gate->begun);
    sem_wait(&gate->open);
}

static void note_done(struct worker_job *job)
{
    ((struct gate *)(void *)job)->is_done = true;
}

/* The worker that takes this kind waits until it is opened. */
static void close_gate(struct fixture *f, struct gate *gate, enum worker_urgency urgency)
{
    *gate = (struct gate){.job = {.run = wait_at_gate, .done = note_done}};
    sem_init(&gate->begun, 0, 0);
    sem_init(&gate->open, 0, 0);
    workers_submit(f->workers, &gate->job, urgency);
    sem_wait(&gate->begun);
}

/* However many users ask, or one with as many IDs, the list that each request goes over stays
 * short. */
static void test_takers_are_bounded(void **state)
{
    (void)state;
    enum { N = 2000 };
    struct fixture *f = fixture_new(0, 0, 0, 60000);
    struct fairshare *fairshare = &f->pool.fairshare;
    for (uid_t uid = 1; uid <= N; uid++) {
        struct quota_user *user;
        assert_int_equal(quota_user_ref(&f->quota, uid, &user), 0);
        fairshare_note_asked(fairshare, user, 2 * MIB);
        assert_true(fairshare_permits(fairshare, user, 2 * MIB, 1024 * MIB));
        fairshare_note_taken(fairshare, user, 2 * MIB);
        quota_user_unref(user);
        assert_true(fairshare->n_takers <= 1000);
    }
    assert_true(fairshare->n_takers >= 100);
    fixture_free(f);
}

/* Of what a user gives up, so much may wait to be closed without being charged to it, and no more.
 */
static void test_closing_lags(void **state)
{
    (void)state;
    enum { N = 20 };
    struct fixture *f = fixture_new(0, 0, 0, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    struct quota_user *user = c.client->user;
    struct gate gate;
    uint64_t ids[N], given_up = 0;
    close_gate(f, &gate, WORKER_BACKGROUND);
    for (int i = 0; i < N; i++) {
        if (lease(f, &c, EXTENT_MAX_SLABS, EXTENT_MAX_SLABS) != 0)
            fail_msg("lease %d", i);
        ids[0] = grants[0].extent->id;
        close_grants();
        assert_true(lease_return(&f->leases, c.client, ids[0]));
        fixture_wait(f, f->stats.leased_bytes == 0);
        given_up += EXTENT_MAX_SLABS * SUPERSLAB_BYTES;
        if (given_up <= 256 * MIB)
            assert_int_equal(user->used[QUOTA_BYTES], 0);
        else
            assert_int_equal(user->used[QUOTA_BYTES], given_up - 256 * MIB);
    }
    assert_int_equal(user->used[QUOTA_FDS],
                     (given_up - 256 * MIB) / (EXTENT_MAX_SLABS * SUPERSLAB_BYTES));
    sem_post(&gate.open);
    fixture_wait(f, gate.is_done && user->used[QUOTA_BYTES] == 0 && user->used[QUOTA_CLOSING] == 0);
    assert_int_equal(user->used[QUOTA_FDS], 0);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* A large stock is given back in slices of the loop's time, and by one worker: what is urgent
 * passes it. */
static void test_trim_in_slices(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 512 * MIB, 60000, 60000);
    static struct gate held, urgent;
    fixture_wait(f, is_settled(f));
    /* Asked for again and again: it fades while a busy machine makes it. */
    fixture_wait(f, pool_ask(&f->pool, 256 * MIB) == 256 * MIB &&
                        f->pool.fresh_bytes >= 256 * MIB && f->pool.n_jobs == 0);
    uint64_t n_extents = f->stats.n_extents, stock = f->stats.stock_bytes;
    assert_true(n_extents > 32);
    close_gate(f, &held, WORKER_BACKGROUND);

    turn_begin();
    for (uint64_t until = clock_now_ns() + TURN_SHORT_US * 1000 + 1; clock_now_ns() < until;)
        ;
    assert_int_equal(pool_trim(&f->pool), stock);
    turn_end();
    assert_in_range(stock - f->stats.stock_bytes, 2 * MIB, 32 * MIB); /* one extent */
    assert_true(pool_is_valid(&f->pool));
    fixture_wait(f, f->stats.stock_bytes == 0);

    sem_init(&urgent.begun, 0, 0);
    sem_init(&urgent.open, 0, 1);
    urgent.job = (struct worker_job){.run = wait_at_gate, .done = note_done};
    workers_submit(f->workers, &urgent.job, WORKER_URGENT);
    fixture_wait(f, urgent.is_done);
    assert_int_equal(f->stats.n_extents, n_extents); /* still to be closed, all of them */
    sem_post(&held.open);
    fixture_wait(f, f->stats.n_extents == 0);
    fixture_free(f);
}

static void test_prewarm_measures(void **state)
{
    (void)state;
    static const enum extent_backing backings[] = {BACKING_AUTO, BACKING_THP, BACKING_4K};
    struct fixture *f = fixture_new(0, 0, 0, 60000);
    for (size_t i = 0; i < 3; i++) {
        struct extent *extent;
        struct memfd_mapping mapping;
        uint16_t huge;
        assert_int_equal(extent_new(&f->extents, 4, backings[i], &extent), 0);
        prewarm_run(&extent->work.job);
        assert_int_equal(extent->work.error, 0);
        /* Mapped afresh and touched, it shows the same. */
        assert_int_equal(memfd_map(extent->fd, 4, &mapping), 0);
        unsigned char present[4 * SUPERSLAB_BYTES / 4096];
        assert_int_equal(mincore(mapping.bytes, mapping.n_bytes, present), 0);
        for (size_t page = 0; page < sizeof(present); page++)
            assert_int_equal(present[page] & 1, 1);
        madvise(mapping.bytes, mapping.n_bytes, MADV_HUGEPAGE);
        for (size_t at = 0; at < mapping.n_bytes; at += 4096)
            assert_int_equal(mapping.bytes[at], 0);
        assert_int_equal(prewarm_measure(&mapping, &huge), 0);
        assert_int_equal(huge, extent->work.huge_slabs);
        if (backings[i] == BACKING_4K)
            assert_int_equal(huge, 0);
        memfd_unmap(&mapping);
        extent_discard(extent);
    }
    fixture_free(f);
}

/* ---- descriptors that are opened ahead ---- */

static struct extent *first_of(struct list *shelf)
{
    assert_false(list_is_empty(shelf));
    return list_entry(shelf->next, struct extent, link);
}

/* Each lease has a file of its own, whoever opened it when: what was done to the one before is not
 * to be seen in it, and the proof holds. */
static void test_opened_ahead(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(16 * MIB, 64 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    fixture_wait(f, is_settled(f) && f->ledgers.n_ready == LEDGERS_READY_MAX);
    uint64_t n_fresh = f->stats.n_extents;
    assert_int_equal(f->extents.n_ahead, n_fresh);
    assert_int_equal(f->stats.n_ahead_fds, n_fresh + LEDGERS_READY_MAX);
    struct extent *extent = first_of(&f->pool.fresh[0][0]);
    for (int round = 0; round < 3; round++) {
        struct stat own, theirs;
        int ahead = extent->client_fd;
        assert_true(ahead >= 0);
        assert_int_equal(fstat(extent->fd, &own), 0);
        assert_int_equal(fstat(ahead, &theirs), 0);
        assert_int_equal(own.st_ino, theirs.st_ino);
        assert_int_equal(lease(f, &c, 1, 1), 0);
        assert_ptr_equal(grants[0].extent, extent);
        assert_int_equal(grants[0].fd, ahead);
        assert_int_equal(extent->client_fd, -1);
        assert_int_equal(lseek(ahead, 0, SEEK_CUR), 0);
        assert_int_equal(fcntl(ahead, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR);
        assert_int_equal(fcntl(ahead, F_GETFD), FD_CLOEXEC);
        assert_int_equal(lseek(ahead, 4096, SEEK_SET), 4096);
        assert_int_equal(fcntl(ahead, F_SETFL, O_APPEND | O_NONBLOCK), 0);
        off_t offset = lseek(extent->fd, 0, SEEK_CUR);
        assert_int_not_equal(offset, 4096);
        assert_int_equal(memfd_prove_exclusive(extent->fd), MEMFD_SHARED);
        close_grants();
        assert_int_equal(memfd_prove_exclusive(extent->fd), 0);
        assert_true(lease_return(&f->leases, c.client, extent->id));
        fixture_wait(f, extent->state == EXTENT_RECYCLED);
    }
    pool_trim(&f->pool); /* what is discarded leaves none behind */
    fixture_wait(f, f->extents.n_ahead == f->stats.n_extents && f->pool.recycled_bytes == 0);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* Of a large stock it is the last that came into it, which are the first to leave. */
static void test_opened_ahead_are_few(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(0, 512 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    uint64_t ids[EXTENTS_AHEAD_MAX + 8];
    const size_t n = EXTENTS_AHEAD_MAX + 8;
    pool_ask(&f->pool, 256 * MIB); /* so that what comes back is kept */
    fixture_wait(f, f->pool.fresh_bytes > 200 * MIB && f->pool.n_jobs == 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(lease(f, &c, 1, 1), 0);
        ids[i] = grants[0].extent->id;
        close_grants();
    }
    pool_set_mode(&f->pool, POOL_NO_WARM); /* nothing else comes into the stock */
    fixture_wait(f, f->pool.n_jobs == 0);
    for (size_t i = 0; i < n; i++) {
        struct extent *extent = extent_find(&f->extents, ids[i]);
        assert_true(lease_return(&f->leases, c.client, ids[i]));
        fixture_wait(f, extent->state == EXTENT_RECYCLED);
        assert_true(extent->client_fd >= 0);
        assert_true(f->extents.n_ahead <= EXTENTS_AHEAD_MAX);
    }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(extent_find(&f->extents, ids[i])->client_fd >= 0, i >= 8);
    /* All the same they can all be leased. */
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(lease(f, &c, 1, 1), 0);
        close_grants();
    }
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* Where descriptors are few none is opened ahead, and those that are give way. */
static void test_opened_ahead_give_way(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(16 * MIB, 64 * MIB, 60000, 60000);
    struct fixture_client c = fixture_client_new(f, 1);
    fixture_wait(f, is_settled(f) && f->ledgers.n_ready == LEDGERS_READY_MAX);
    assert_true(f->extents.n_ahead > 2);
    f->stats.fd_limit = 200; /* stats.c: 40 its own, 48 in reserve, 125 of comfort */
    assert_int_equal(lease(f, &c, 1, 1), 0);
    assert_int_equal(f->extents.n_ahead, 0);
    uint64_t id = grants[0].extent->id;
    close_grants();
    assert_true(lease_return(&f->leases, c.client, id));
    fixture_wait(f, extent_find(&f->extents, id)->state == EXTENT_RECYCLED);
    assert_int_equal(f->extents.n_ahead, 0);
    assert_int_equal(f->stats.n_ahead_fds, LEDGERS_READY_MAX);
    assert_int_equal(lease(f, &c, 1, 1), 0);
    close_grants();
    fixture_client_end(f, &c);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fills_to_the_minimum),
        cmocka_unit_test(test_never_above_the_maximum),
        cmocka_unit_test(test_no_stock_at_all),
        cmocka_unit_test(test_grants),
        cmocka_unit_test(test_recycled_for_its_user_alone),
        cmocka_unit_test(test_recycled_is_no_fresh_demand),
        cmocka_unit_test(test_holes_are_made_anew),
        cmocka_unit_test(test_recycled_grows_old),
        cmocka_unit_test(test_orphan),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_come_back_at_once),
        cmocka_unit_test(test_slots_in_pieces),
        cmocka_unit_test(test_takers_are_bounded),
        cmocka_unit_test(test_closing_lags),
        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_descriptors_are_shared),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_refills_when_it_is_calm),
        cmocka_unit_test(test_does_not_swing),
        cmocka_unit_test(test_trim_in_slices),
        cmocka_unit_test(test_prewarm_measures),
        cmocka_unit_test(test_opened_ahead),
        cmocka_unit_test(test_opened_ahead_are_few),
        cmocka_unit_test(test_opened_ahead_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
