/*
 * What growth does on private memory: a program whose sizes change holds little more than it uses,
 * one that stays as it is, or whose sizes come and go in turns, is left alone; what is on record as
 * gone is gone, and nothing else. No clock is looked at here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/growth.h"
#include "libclient/firstregion.h"
#include "libclient/heap.h"
#include "libclient/holes.h"
#include "libclient/large.h"
#include "libclient/purge.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/span.h"

#define MIB ((size_t)1 << 20)

enum { PHASE_MIB = 96, N_MAX = PHASE_MIB * 1024, KEEP_EVERY = 12 };

/* Of one phase: blocks of one class. */
struct phase {
    unsigned class;
    unsigned n;
    char *blocks[N_MAX];
};

static struct phase first, second;

static uint64_t held(void)
{
    return runs_carved_bytes() - holes_bytes();
}

static uint64_t purged(void)
{
    return purge_counters().purged_bytes;
}

static void is_valid(void)
{
#ifdef HAKMEM_DEBUG
    assert_true(span_bins_are_valid() && runs_are_valid());
#endif
}

static char mark_of(const struct phase *phase, unsigned i)
{
    return (char)(i % 251 + phase->class);
}

/* As a thread's cache does. Every block is written to. */
static void fill(struct phase *phase, size_t block_bytes)
{
    phase->class = sizeclass_of(block_bytes);
    unsigned n = (unsigned)(PHASE_MIB * MIB / sizeclass_bytes(phase->class));
    assert_in_range(n, 1, N_MAX);
    while (phase->n < n) {
        unsigned wanted = n - phase->n < 16 ? n - phase->n : 16;
        unsigned got = span_take(0, phase->class, (void **)&phase->blocks[phase->n], wanted),
                 i = phase->n;
        assert_true(got > 0);
        for (phase->n += got; i < phase->n; i++)
            memset(phase->blocks[i], mark_of(phase, i), sizeclass_bytes(phase->class));
        growth_tick();
    }
}

static void check(const struct phase *phase, unsigned i)
{
    const char *block = phase->blocks[i];
    size_t n_bytes = sizeclass_bytes(phase->class);
    assert_int_equal(block[0], mark_of(phase, i));
    assert_memory_equal(block, block + 1, n_bytes - 1);
}

/* All but every KEEP_EVERY-th go, the last one first, so that the span to take from next is the
 * first one. Their order, and so their marks, is lost: they are marked anew. */
static void thin_out(struct phase *phase)
{
    unsigned n_kept = 0;
    for (unsigned i = phase->n; i-- > 0;) {
        check(phase, i);
        if (i % KEEP_EVERY != 0)
            span_give(phase->class, (void **)&phase->blocks[i], 1);
    }
    for (unsigned i = 0; i < phase->n; i += KEEP_EVERY) {
        phase->blocks[n_kept] = phase->blocks[i];
        memset(phase->blocks[n_kept], mark_of(phase, n_kept), sizeclass_bytes(phase->class));
        n_kept++;
    }
    phase->n = n_kept;
}

static void drop(struct phase *phase)
{
    for (unsigned i = 0; i < phase->n; i++) {
        check(phase, i);
        span_give(phase->class, (void **)&phase->blocks[i], 1);
    }
    phase->n = 0;
    span_trim();
}

/* Pages that are resident in the window, and are on record as gone: none. How many are resident. */
static size_t count_resident(void)
{
    size_t n_resident = 0;
    for (uint32_t index = 0; runs_next_carved(&index) && index != BITMAP_NONE; index++) {
        unsigned char pages[SUPERSLAB_BYTES / PAGE_BYTES];
        assert_int_equal(mincore(window_address(index), SUPERSLAB_BYTES, pages), 0);
        for (size_t page = 0; page < sizeof(pages); page++) {
            size_t unit = (size_t)index * UNITS_PER_SUPERSLAB + page / PAGES_PER_UNIT;
            bool is_gone = holes_of_unit && (holes_of_unit[unit] >> page % PAGES_PER_UNIT) & 1;
            assert_false(is_gone && (pages[page] & 1));
            n_resident += pages[page] & 1;
        }
    }
    return n_resident;
}

/* Two phases: at the end the second one's blocks and what is usual are held, not all of both. */
static void what_no_phase_needs_goes(void **state)
{
    enum { OTHER_MIB = 40 }; /* survivors' pages, what is usual, what the last steps used */
    (void)state;
    fill(&first, 2000);
    assert_int_equal(purged(), 0);
    thin_out(&first);
    assert_int_equal(purged(), 0);
    fill(&second, 6000);
    is_valid();
    assert_true(purged() > 0);
    assert_in_range(held(), PHASE_MIB * MIB, (PHASE_MIB + OTHER_MIB) * MIB);
    assert_in_range(count_resident() * PAGE_BYTES, PHASE_MIB * MIB, held());
    for (unsigned i = 0; i < first.n; i++)
        check(&first, i);
    drop(&first);
    drop(&second);
    is_valid();
    /* Their SuperSlabs are empty, but for the first one, with the first span of each class. */
    assert_in_range(holes_bytes(), 0, 2 * UNIT_BYTES);
}

/* Phases in turn: at first that costs, then no more. Never is more held than without. */
static void turns_are_learnt(void **state)
{
    enum { N_TURNS = 24 };
    uint64_t at_turn = 0;
    (void)state;
    fill(&first, 2000);
    for (unsigned turn = 0; turn < N_TURNS; turn++) {
        at_turn = purged();
        thin_out(&first);
        fill(&second, 6000);
        thin_out(&second);
        fill(&first, 2000);
        is_valid();
    }
    assert_int_equal(purged() - at_turn, 0);
    assert_in_range(purged(), 1, 4 * PHASE_MIB * MIB);
    drop(&first);
    drop(&second);
}

/* A sparse heap in which blocks come and go, at random, for long. */
static void steady_use_is_left_alone(void **state)
{
    enum { N_CHANGES = 300000 };
    uint32_t random = 1;
    (void)state;
    fill(&first, 2000);
    thin_out(&first);
    unsigned n_kept = first.n, n_most = n_kept * 4;
    for (unsigned n = 0; n < N_CHANGES; n++) {
        random = random * 1664525 + 1013904223;
        if ((random >> 8) % n_most > first.n) {
            assert_int_equal(span_take(0, first.class, (void **)&first.blocks[first.n], 1), 1);
            memset(first.blocks[first.n], mark_of(&first, first.n), sizeclass_bytes(first.class));
            first.n++;
        } else if (first.n > n_kept) {
            check(&first, --first.n);
            span_give(first.class, (void **)&first.blocks[first.n], 1);
        }
        growth_tick();
    }
    assert_int_equal(purged(), 0);
    drop(&first);
}

/* The one span from which blocks are taken meanwhile keeps all of its pages. */
static void what_is_in_use_stays(void **state)
{
    enum { EVERY = 100 };
    size_t span_bytes;
    char *block, *span = NULL;
    (void)state;
    fill(&first, 2000);
    thin_out(&first);
    span_bytes = sizeclasses[first.class].n_units * UNIT_BYTES;
    second.class = sizeclass_of(6000);
    for (unsigned n = 0; n < PHASE_MIB * MIB / 6144; n++) {
        assert_int_equal(span_take(0, second.class, (void **)&second.blocks[n], 1), 1);
        second.n = n + 1;
        memset(second.blocks[n], mark_of(&second, n), sizeclass_bytes(second.class));
        if (n % EVERY == 0) {
            assert_int_equal(span_take(0, first.class, (void **)&block, 1), 1);
            uint32_t index = window_index(block);
            char *here = (char *)window_address(index) +
                         window_slab(index)->first_unit[window_unit(block)] * UNIT_BYTES;
            assert_true(span == NULL || span == here);
            span = here;
            span_give(first.class, (void **)&block, 1);
        }
        growth_tick();
    }
    assert_true(purged() > 0);
    for (size_t at = 0; at < span_bytes; at += PAGE_BYTES) {
        unsigned char page;
        assert_int_equal(mincore(span + at, PAGE_BYTES, &page), 0);
        assert_true(page & 1);
    }
    drop(&first);
    drop(&second);
}

/* A heap that just grows has nothing to purge, whatever it is cut into. */
static void mere_growth_purges_nothing(void **state)
{
    (void)state;
    fill(&first, 2000);
    fill(&second, 100000);
    assert_int_equal(purged(), 0);
    drop(&first);
    drop(&second);
}

/* Each in a process of its own: what was held at the most is not forgotten. */
static int run(const struct CMUnitTest *test)
{
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        settings.connect = SETTINGS_CONNECT_OFF;
        bool zero;
        /* Out of the first SuperSlab, and its rest. */
        if (!heap_is_ready() || !large_allocate(1, 16, &zero))
            _exit(1);
        firstregion_outgrow();
        _exit(_cmocka_run_group_tests(test->name, test, 1, NULL, NULL));
    }
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_phase_needs_goes),   cmocka_unit_test(what_is_in_use_stays),
        cmocka_unit_test(mere_growth_purges_nothing), cmocka_unit_test(steady_use_is_left_alone),
        cmocka_unit_test(turns_are_learnt),
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++)
        failed |= run(&tests[i]);
    return failed != 0;
}
