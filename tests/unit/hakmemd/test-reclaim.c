/* Reclaim: what is punched and what is not, with an honest ledger and with hostile ones. */
#include "fixture.h"

#include <pthread.h>
#include <stdatomic.h>

#define IDLE_MS 30

/* A client with one extent of four SuperSlabs, full of a pattern. */
struct scene {
    struct fixture *f;
    struct fixture_client c;
    struct extent *extent;
    int fd;
    unsigned char *memory;
    uint32_t *slots;
};

static struct scene scene_new(uint64_t idle_ms)
{
    struct scene s = {.f = fixture_new(8 * MIB, 256 * MIB, 60000, idle_ms)};
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n_grants;
    s.c = fixture_client_new(s.f, 1000);
    assert_ptr_not_equal(client_ledger(s.c.client), NULL);
    assert_int_equal(lease_grant(&s.f->leases, s.c.client, 4, 4, CONN_MAX_FDS, grants, &n_grants),
                     0);
    assert_int_equal(n_grants, 1);
    s.extent = grants[0].extent;
    s.fd = grants[0].fd;
    s.memory = mmap(NULL, 4 * SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, s.fd, 0);
    assert_ptr_not_equal(s.memory, MAP_FAILED);
    memset(s.memory, 0xa5, 4 * SUPERSLAB_BYTES);
    s.slots = s.c.ledger->slots + s.extent->first_slot;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ledger_word_state(s.slots[i]), SLAB_EMPTY);
        assert_true(ledger_slab_change(&s.slots[i], s.slots[i], LEDGER_CLIENT, SLAB_ACTIVE));
    }
    fixture_wait(s.f, !s.extent->care.in_flight);
    return s;
}

static void scene_free(struct scene *s)
{
    munmap(s->memory, 4 * SUPERSLAB_BYTES);
    close(s->fd);
    fixture_client_end(s->f, &s->c);
    fixture_free(s->f);
}

static void change(struct scene *s, int i, enum slab_state to)
{
    assert_true(
        ledger_slab_change(&s->slots[i], ledger_slot_read(&s->slots[i]), LEDGER_CLIENT, to));
}

static enum slab_state state_of(struct scene *s, int i)
{
    return ledger_word_state(ledger_slot_read(&s->slots[i]));
}

static bool is_zero(struct scene *s, int i)
{
    const unsigned char *at = s->memory + (size_t)i * SUPERSLAB_BYTES;
    return at[0] == 0 && memcmp(at, at + 1, SUPERSLAB_BYTES - 1) == 0;
}

static bool is_whole(struct scene *s, int i)
{
    const unsigned char *at = s->memory + (size_t)i * SUPERSLAB_BYTES;
    return at[0] == 0xa5 && memcmp(at, at + 1, SUPERSLAB_BYTES - 1) == 0;
}

static void test_idle_is_taken_active_and_pinned_are_not(void **state)
{
    (void)state;
    struct scene s = scene_new(IDLE_MS);
    change(&s, 1, SLAB_IDLE);
    change(&s, 3, SLAB_PINNED);
    fixture_wait(s.f, state_of(&s, 1) == SLAB_RECLAIMED);
    assert_true(is_whole(&s, 0));
    assert_true(is_zero(&s, 1));
    assert_true(is_whole(&s, 2));
    assert_true(is_whole(&s, 3));
    assert_int_equal(state_of(&s, 3), SLAB_PINNED);
    assert_int_equal(s.f->stats.reclaimed_bytes_total, SUPERSLAB_BYTES);
    struct client_usage usage = {0};
    client_add_usage(s.c.client, &usage);
    assert_int_equal(usage.active_bytes, 2 * SUPERSLAB_BYTES);
    assert_int_equal(usage.reclaimed_bytes, SUPERSLAB_BYTES);
    assert_int_equal(usage.pinned_bytes, SUPERSLAB_BYTES);
    /* And back again. */
    change(&s, 1, SLAB_ACTIVE);
    memset(s.memory + SUPERSLAB_BYTES, 0xa5, SUPERSLAB_BYTES);
    change(&s, 1, SLAB_IDLE);
    fixture_wait(s.f, state_of(&s, 1) == SLAB_RECLAIMED);
    assert_true(is_zero(&s, 1));
    scene_free(&s);
}

/* Used between two looks: the sequence tells, though both looks see IDLE. */
static void test_age_begins_anew(void **state)
{
    (void)state;
    struct scene s = scene_new(3600000);
    change(&s, 0, SLAB_IDLE);
    assert_int_equal(reclaim_scan_client(&s.f->reclaim, s.c.client, 3600000), 0);
    s.extent->watch[0].since_ms -= 5000;
    s.extent->watch[1].since_ms -= 5000;
    change(&s, 0, SLAB_ACTIVE);
    change(&s, 0, SLAB_IDLE);
    assert_int_equal(reclaim_scan_client(&s.f->reclaim, s.c.client, 4000), 0);
    assert_int_equal(state_of(&s, 0), SLAB_IDLE);
    /* Left alone, it is taken. */
    s.extent->watch[0].since_ms -= 5000;
    assert_int_equal(reclaim_scan_client(&s.f->reclaim, s.c.client, 4000), SUPERSLAB_BYTES);
    assert_int_equal(state_of(&s, 0), SLAB_RECLAIMING);
    fixture_wait(s.f, state_of(&s, 0) == SLAB_RECLAIMED);
    scene_free(&s);
}

static void test_all_at_once(void **state)
{
    (void)state;
    struct scene s = scene_new(3600000);
    for (int i = 0; i < 4; i++)
        change(&s, i, SLAB_IDLE);
    assert_int_equal(fixture_reclaim_all(s.f), 4 * SUPERSLAB_BYTES);
    assert_int_equal(fixture_reclaim_all(s.f), 0);
    fixture_wait(s.f, state_of(&s, 3) == SLAB_RECLAIMED);
    for (int i = 0; i < 4; i++)
        assert_true(is_zero(&s, i));
    scene_free(&s);
}

static void test_returned_during_punch(void **state)
{
    (void)state;
    struct scene s = scene_new(3600000);
    uint64_t id = s.extent->id;
    change(&s, 0, SLAB_IDLE);
    assert_int_equal(fixture_reclaim_all(s.f), SUPERSLAB_BYTES);
    assert_true(lease_return(&s.f->leases, s.c.client, id));
    assert_false(lease_return(&s.f->leases, s.c.client, id));
    assert_int_equal(s.c.client->leased_bytes, 4 * SUPERSLAB_BYTES);
    /* Mapped as it still is here, it is an orphan. What its words say is left to the client. */
    fixture_wait(s.f, s.c.client->leased_bytes == 0);
    assert_int_equal(s.f->stats.orphan_bytes, 4 * SUPERSLAB_BYTES);
    assert_int_equal(state_of(&s, 1), SLAB_ACTIVE);
    /* Whoever gets these slots next finds them empty. */
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n_grants;
    assert_int_equal(lease_grant(&s.f->leases, s.c.client, 4, 4, CONN_MAX_FDS, grants, &n_grants),
                     0);
    assert_int_equal(grants[0].extent->first_slot, s.slots - s.c.ledger->slots);
    for (int i = 0; i < 4; i++)
        assert_int_equal(state_of(&s, i), SLAB_EMPTY);
    close(grants[0].fd);
    scene_free(&s);
}

static void test_ended_during_punch(void **state)
{
    (void)state;
    struct scene s = scene_new(3600000);
    for (int i = 0; i < 4; i++)
        change(&s, i, SLAB_IDLE);
    assert_int_equal(fixture_reclaim_all(s.f), 4 * SUPERSLAB_BYTES);
    assert_int_equal(s.c.client->n_working, 1);
    scene_free(&s);
}

/* Writes anything into the words, as fast as it can, until told to stop. */
struct scribbler {
    struct scene *scene;
    atomic_bool stop;
};

static void *scribble(void *data)
{
    struct scribbler *scribbler = data;
    uint32_t x = 1, n_writes = 0;
    while (!atomic_load(&scribbler->stop)) {
        x = x * 1664525 + 1013904223;
        uint32_t *slot = &scribbler->scene->slots[x >> 30];
        /* Often a valid state, often not. */
        atomic_store_relaxed(slot, x & 0x800 ? x : (x & ~0xffu) | (x >> 8 & 7));
        /* Now and then long enough for the daemon to get its change in. */
        if (++n_writes % 64 == 0)
            usleep(1);
    }
    return NULL;
}

static void test_hostile_ledger(void **state)
{
    (void)state;
    struct scene s = scene_new(1);
    static struct scribbler scribbler; /* outlives the test, should it fail */
    scribbler = (struct scribbler){.scene = &s};
    pthread_t thread;
    uint64_t id = s.extent->id;
    assert_int_equal(pthread_create(&thread, NULL, scribble, &scribbler), 0);
    uint64_t deadline_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;
    for (int i = 0;
         i < 3000 || (s.f->stats.reclaimed_bytes_total == 0 && clock_now_ms() < deadline_ms); i++) {
        fixture_reclaim_all(s.f);
        event_base_loop(s.f->base, EVLOOP_NONBLOCK);
        struct client_usage usage = {0};
        client_add_usage(s.c.client, &usage);
        assert_int_equal(usage.active_bytes + usage.idle_bytes + usage.reclaimed_bytes +
                             usage.pinned_bytes,
                         4 * SUPERSLAB_BYTES);
        assert_true(client_is_valid(s.c.client));
    }
    assert_true(s.f->stats.reclaimed_bytes_total > 0);
    assert_true(lease_return(&s.f->leases, s.c.client, id));
    fixture_wait(s.f, s.c.client->leased_bytes == 0);
    atomic_store(&scribbler.stop, true);
    pthread_join(thread, NULL);
    scene_free(&s);
}

/* Every value that a word can have as far as the state goes: nothing but IDLE is ever taken. */
static void test_every_state(void **state)
{
    (void)state;
    struct scene s = scene_new(3600000);
    for (uint32_t low = 0; low < 256; low++) {
        uint32_t word = 0xabcd00 | low;
        atomic_store_relaxed(&s.slots[2], word);
        uint64_t n_bytes = fixture_reclaim_all(s.f);
        if (low == SLAB_IDLE) {
            assert_int_equal(n_bytes, SUPERSLAB_BYTES);
            fixture_wait(s.f, state_of(&s, 2) == SLAB_RECLAIMED);
        } else {
            assert_int_equal(n_bytes, 0);
            assert_int_equal(s.slots[2], word);
        }
    }
    scene_free(&s);
}

/* A client that has just come is known by its ledger's file alone; the first look has it mapped,
 * the next ones see its words. */
static void test_mapped_by_the_first_look(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8 * MIB, 256 * MIB, 60000, 3600000);
    struct fixture_client c = fixture_client_new(f, 1000), brief = fixture_client_new(f, 1000);
    struct ledger_mapping *mapping = c.client->mapping;
    struct client_usage usage = {0};
    struct lease_grant grant[CONN_MAX_FDS];
    size_t n;
    assert_int_equal(c.ledger->magic, LEDGER_MAGIC);
    assert_int_equal(c.ledger->daemon_epoch, 1);
    assert_int_equal(f->stats.n_ledger_fds, 2);
    assert_int_equal(lease_grant(&f->leases, c.client, 2, 2, CONN_MAX_FDS, grant, &n), 0);
    close(grant[0].fd);
    uint32_t *slots = &c.ledger->slots[grant[0].extent->first_slot];
    assert_true(ledger_slab_change(&slots[1], slots[1], LEDGER_CLIENT, SLAB_ACTIVE));
    assert_true(ledger_slab_change(&slots[1], slots[1], LEDGER_CLIENT, SLAB_IDLE));
    client_add_usage(c.client, &usage);
    assert_int_equal(usage.idle_bytes, SUPERSLAB_BYTES);
    assert_ptr_equal(mapping->ledger, NULL);

    c.client->connected_ms = clock_now_ms() + 1000; /* too new, whatever the host does meanwhile */
    assert_int_equal(reclaim_scan_client(&f->reclaim, c.client, 1), 0);
    assert_false(mapping->in_flight);
    c.client->connected_ms = brief.client->connected_ms = clock_now_ms() - 1000;
    assert_int_equal(reclaim_scan_client(&f->reclaim, c.client, 1), 0);
    assert_int_equal(reclaim_scan_client(&f->reclaim, brief.client, 1), 0);
    assert_true(mapping->in_flight);
    fixture_client_end(f, &brief); /* while it is being mapped */
    fixture_wait(f, mapping->ledger != NULL && f->stats.n_ledger_fds == 0);
    assert_int_equal(mapping->fd, -1);
    assert_int_equal(reclaim_scan_client(&f->reclaim, c.client, 1), 0);
    fixture_wait(f, reclaim_scan_client(&f->reclaim, c.client, 1) == SUPERSLAB_BYTES);
    fixture_wait(f, ledger_word_state(ledger_slot_read(&slots[1])) == SLAB_RECLAIMED);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* Slots that are handed out again read EMPTY, whatever their last extent left in them. */
static void test_slots_handed_out_again(void **state)
{
    (void)state;
    struct fixture *f = fixture_new(8 * MIB, 256 * MIB, 60000, 3600000);
    struct fixture_client c = fixture_client_new(f, 1000);
    struct lease_grant grant[CONN_MAX_FDS];
    size_t n;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lease_grant(&f->leases, c.client, 1, 1, CONN_MAX_FDS, grant, &n), 0);
        close(grant[0].fd);
        uint32_t *slot = &c.ledger->slots[grant[0].extent->first_slot];
        assert_int_equal(grant[0].extent->first_slot, 0);
        assert_int_equal(ledger_word_state(*slot), SLAB_EMPTY);
        assert_true(ledger_slab_change(slot, *slot, LEDGER_CLIENT, SLAB_ACTIVE));
        assert_true(lease_return(&f->leases, c.client, grant[0].extent->id));
    }
    fixture_client_end(f, &c);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_is_taken_active_and_pinned_are_not),
        cmocka_unit_test(test_age_begins_anew),
        cmocka_unit_test(test_mapped_by_the_first_look),
        cmocka_unit_test(test_slots_handed_out_again),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_returned_during_punch),
        cmocka_unit_test(test_ended_during_punch),
        cmocka_unit_test(test_hostile_ledger),
        cmocka_unit_test(test_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
