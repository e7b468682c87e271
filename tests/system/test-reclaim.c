/*
 * Giving memory back without a system call: an IDLE SuperSlab that has aged loses its pages and
 * keeps its mapping; an ACTIVE or PINNED one never loses anything, whoever races with whom.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

static int setup(void **state)
{
    static const char *const options[] = {"pool.min=8M", "pool.max=64M", "reclaim.idle_ms=20",
                                          NULL};
    return daemon_setup(state, options, true);
}

/* One extent of four SuperSlabs, mapped and full of 0x77. */
static void begin_four(struct client *client, const struct daemon *daemon, struct lease *lease)
{
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    client_connect(client, daemon);
    require_equal(client_hello(client, 0, leases, &n), NONE);
    require_equal(client_lease(client, 4, 4, leases, &n), NONE);
    *lease = leases[0];
    lease_map(client, lease);
    lease_fill(lease, 0x77);
}

static void wait_for_state(const struct client *client, const struct lease *lease, uint32_t slab,
                           enum slab_state state)
{
    uint64_t deadline = harness_deadline();
    while (lease_state(client, lease, slab) != state) {
        require(!harness_is_late(deadline));
        harness_pause();
    }
}

static void test_idle_is_reclaimed(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease lease;

    begin_four(&client, daemon, &lease);
    require_equal(lease_backed_bytes(&lease), 4 * SUPERSLAB_BYTES);
    stats_get(daemon, &stats);
    require_equal(stats.active_bytes, 4 * SUPERSLAB_BYTES);
    require(lease_change(&client, &lease, 1, SLAB_IDLE));
    require(lease_change(&client, &lease, 2, SLAB_IDLE));
    wait_for_state(&client, &lease, 1, SLAB_RECLAIMED);
    wait_for_state(&client, &lease, 2, SLAB_RECLAIMED);
    require_equal(lease_backed_bytes(&lease), 2 * SUPERSLAB_BYTES);
    stats_get(daemon, &stats);
    require_equal(stats.reclaimed_bytes_total, 2 * SUPERSLAB_BYTES);
    require_equal(stats.reclaimed_bytes, 2 * SUPERSLAB_BYTES);
    require_equal(stats.active_bytes, 2 * SUPERSLAB_BYTES);
    require_equal(stats.leased_bytes, 4 * SUPERSLAB_BYTES);

    /* The neighbours are whole; what was reclaimed reads as zero and can be used again. */
    require(lease_slab_is(&lease, 0, 0x77));
    require(lease_slab_is(&lease, 3, 0x77));
    require(lease_change(&client, &lease, 1, SLAB_ACTIVE));
    require(lease_slab_is(&lease, 1, 0));
    memset(lease.memory + SUPERSLAB_BYTES, 0x11, SUPERSLAB_BYTES);
    require(lease_change(&client, &lease, 1, SLAB_IDLE));
    wait_for_state(&client, &lease, 1, SLAB_RECLAIMED);
    require(lease_slab_is(&lease, 1, 0));
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* Not before its age; and a SuperSlab that was wanted again in between begins anew. */
static void test_age(void **state)
{
    struct daemon *daemon = *state;
    struct client client;
    struct lease lease;
    const uint64_t age_ns = 300 * 1000000ull;

    daemon_kill(daemon);
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "reclaim.idle_ms=300", NULL);
    daemon_start(daemon);
    begin_four(&client, daemon, &lease);
    uint64_t since[2];
    for (uint32_t i = 0; i < 2; i++) {
        require(lease_change(&client, &lease, i, SLAB_IDLE));
        since[i] = harness_now_ns();
    }
    while (harness_now_ns() < since[1] + age_ns / 2)
        harness_pause();
    require(lease_change(&client, &lease, 1, SLAB_ACTIVE));
    require(lease_change(&client, &lease, 1, SLAB_IDLE));
    since[1] = harness_now_ns();
    wait_for_state(&client, &lease, 0, SLAB_RECLAIMED);
    require(harness_now_ns() - since[0] >= age_ns);
    wait_for_state(&client, &lease, 1, SLAB_RECLAIMED);
    require(harness_now_ns() - since[1] >= age_ns);
    lease_give_back(&client, &lease);
    client_close(&client);
}

/* hakmemctl trim: IDLE memory goes at once, however long it might have stayed. */
static void test_trim_does_not_wait(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client, control;
    struct lease lease;
    uint64_t released = 0;

    daemon_kill(daemon);
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "reclaim.idle_ms=3600000", NULL);
    daemon_start(daemon);
    begin_four(&client, daemon, &lease);
    require(lease_change(&client, &lease, 0, SLAB_IDLE));
    stats_get(daemon, &stats);
    require_equal(stats.idle_bytes, SUPERSLAB_BYTES);
    client_connect(&control, daemon);
    require_equal(client_trim(&control, &released), NONE);
    require(released >= SUPERSLAB_BYTES);
    wait_for_state(&client, &lease, 0, SLAB_RECLAIMED);
    require(lease_slab_is(&lease, 1, 0x77));
    client_close(&control);
    client_close(&client);
}

/* What is not IDLE for long enough is not touched: the daemon reclaims all around it meanwhile. */
static void test_active_and_pinned_stay(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease lease;

    begin_four(&client, daemon, &lease);
    require(lease_change(&client, &lease, 1, SLAB_PINNED));
    require(lease_change(&client, &lease, 2, SLAB_IDLE));
    require(lease_change(&client, &lease, 2, SLAB_PINNED));
    for (int round = 0; round < 8; round++) {
        require(lease_change(&client, &lease, 3, SLAB_IDLE));
        wait_for_state(&client, &lease, 3, SLAB_RECLAIMED);
        require(lease_change(&client, &lease, 3, SLAB_ACTIVE));
        lease.memory[3 * SUPERSLAB_BYTES] = 1;
    }
    require_equal(lease_state(&client, &lease, 0), SLAB_ACTIVE);
    require_equal(lease_state(&client, &lease, 1), SLAB_PINNED);
    require_equal(lease_state(&client, &lease, 2), SLAB_PINNED);
    require(lease_slab_is(&lease, 0, 0x77));
    require(lease_slab_is(&lease, 1, 0x77));
    require(lease_slab_is(&lease, 2, 0x77));
    stats_get(daemon, &stats);
    require_equal(stats.pinned_bytes, 2 * SUPERSLAB_BYTES);
    /* Pinned memory of a client that is gone is free all the same. */
    client_close(&client);
    lease_unmap(&lease);
    lease_close(&lease);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/*
 * A client that goes ACTIVE -> IDLE -> ACTIVE all the time, at times shorter and longer than the
 * daemon's age, while the daemon punches: whatever it wrote while ACTIVE is there until it says
 * IDLE, and then it is there or all zero.
 */
static void test_race_with_the_client(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    struct client client;
    struct lease lease;
    unsigned seed = 3;
    unsigned n_survived = 0, n_reclaimed = 0, n_met = 0;

    daemon_kill(daemon);
    daemon_configure(daemon, "pool.min=8M", "pool.max=64M", "reclaim.idle_ms=1", NULL);
    daemon_start(daemon);
    begin_four(&client, daemon, &lease);
    uint64_t until = harness_now_ns() + 3000000000u;
    for (uint32_t round = 1; harness_now_ns() < until; round++) {
        uint32_t slab = (uint32_t)rand_r(&seed) % 4;
        unsigned char *bytes = lease.memory + slab * SUPERSLAB_BYTES;
        unsigned char mark = (unsigned char)(round % 255 + 1);
        size_t at = (size_t)rand_r(&seed) % (SUPERSLAB_BYTES / 4096) * 4096;
        for (size_t i = 0; i < SUPERSLAB_BYTES; i += 65536)
            bytes[i] = bytes[i + 4095] = mark;
        bytes[at] = mark;
        require(lease_change(&client, &lease, slab, SLAB_IDLE));
        /* Taken back at once, or not before the daemon has begun. */
        uint64_t idle_ms = (uint64_t)rand_r(&seed) % 16;
        uint64_t idle_until = harness_now_ns() + (idle_ms < 12 ? idle_ms / 4 : 200) * 1000000u;
        while (harness_now_ns() < idle_until && lease_state(&client, &lease, slab) == SLAB_IDLE)
            ;
        enum slab_state before;
        uint64_t deadline = harness_deadline();
        for (;;) {
            uint32_t *slot = &client.ledger->slots[lease.first_slot + slab];
            uint32_t word = ledger_slot_read(slot);
            before = ledger_word_state(word);
            n_met += before == SLAB_RECLAIMING;
            /* A living daemon finishes what it began; only then is it ours again. */
            if (before != SLAB_RECLAIMING &&
                ledger_slab_change(slot, word, LEDGER_CLIENT, SLAB_ACTIVE))
                break;
            require(!harness_is_late(deadline));
        }
        require(before == SLAB_IDLE || before == SLAB_RECLAIMED);
        unsigned char expected = before == SLAB_IDLE ? mark : 0;
        for (size_t i = 0; i < SUPERSLAB_BYTES; i += 65536)
            require(bytes[i] == expected && bytes[i + 4095] == expected);
        require_equal(bytes[at], expected);
        n_survived += before == SLAB_IDLE;
        n_reclaimed += before == SLAB_RECLAIMED;
    }
    printf("%u stayed, %u reclaimed, met in mid-punch %u times\n", n_survived, n_reclaimed, n_met);
    require(n_survived > 10 && n_reclaimed > 10);
    stats_get(daemon, &stats);
    require(stats.reclaimed_bytes_total >= n_reclaimed * SUPERSLAB_BYTES);
    lease_give_back(&client, &lease);
    client_close(&client);
    stats_until(daemon, &stats, stats_are_quiet(&stats));
}

/* A client dies with memory in every state; nothing is lost, and nothing of it is seen by the next.
 */
static void test_client_dies_while_reclaiming(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    for (int round = 0; round < 30; round++) {
        pid_t child = harness_fork();
        if (child == 0) {
            struct client client;
            struct lease lease;
            begin_four(&client, daemon, &lease);
            require(lease_change(&client, &lease, 0, SLAB_IDLE));
            require(lease_change(&client, &lease, 1, SLAB_IDLE));
            require(lease_change(&client, &lease, 3, SLAB_PINNED));
            uint64_t until = harness_now_ns() + (uint64_t)round * 1000000u;
            while (harness_now_ns() < until && lease_state(&client, &lease, 0) == SLAB_IDLE)
                ;
            _exit(0);
        }
        harness_join(child);
    }
    stats_until(daemon, &stats, stats_are_quiet(&stats));
    daemon_require_alive(daemon);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, daemon_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_idle_is_reclaimed),    TEST(test_age),
        TEST(test_trim_does_not_wait),   TEST(test_active_and_pinned_stay),
        TEST(test_race_with_the_client), TEST(test_client_dies_while_reclaiming),
    };
    return cmocka_run_group_tests_name("reclaim", tests, NULL, NULL);
}
