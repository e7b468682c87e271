/*
 * Purging on private memory: pages that hold no block go back although their SuperSlab is in use,
 * no page goes that holds a part of one, and what is in use or has just been used is left alone.
 * (On leased memory: tests/system/lib-purge.sh.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libclient/firstregion.h"
#include "libclient/glue.h"
#include "libclient/heap.h"
#include "libclient/large.h"
#include "libclient/purge.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/span.h"

enum { PAGE = 4096, BOUND_S = 20 };

static bool is_resident(const void *at)
{
    unsigned char state = 0;
    void *page = (void *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
    assert_int_equal(mincore(page, PAGE, &state), 0);
    return state & 1;
}

static unsigned n_resident(const char *at, size_t n_bytes)
{
    unsigned n = 0;
    for (size_t offset = 0; offset < n_bytes; offset += PAGE)
        n += is_resident(at + offset);
    return n;
}

static bool reads_as(const char *at, size_t n_bytes, int byte)
{
    for (size_t i = 0; i < n_bytes; i++) {
        if (at[i] != (char)byte)
            return false;
    }
    return true;
}

static void is_valid(void)
{
#ifdef HAKMEM_DEBUG
    assert_true(span_bins_are_valid() && runs_are_valid());
#endif
}

/* Out of the first SuperSlab, and its rest. */
static int grow(void **state)
{
    bool zero;
    (void)state;
    firstregion_outgrow();
    return large_allocate(1, 16, &zero) ? 0 : -1;
}

/* n blocks, filled with a byte of each; they fill whole spans but for the last. */
static void take_filled(unsigned class, char **blocks, unsigned n)
{
    for (unsigned got = 0; got < n;)
        got += span_take(0, class, (void **)blocks + got, n - got);
    for (unsigned i = 0; i < n; i++)
        memset(blocks[i], (int)(i % 255 + 1), sizeclass_bytes(class));
}

static void give(unsigned class, char *block)
{
    span_give(class, (void **)&block, 1);
}

/* Every class: of many blocks one in `step` stays, over all that is purged it keeps its bytes, and
 * every place can be used again. */
static void survivors_keep_their_bytes(void **state)
{
    enum { N = 6000, BYTES_MAX = 12 << 20 };
    static char *blocks[N];
    (void)state;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        size_t bytes = sizeclass_bytes(class);
        unsigned n = BYTES_MAX / bytes < N ? (unsigned)(BYTES_MAX / bytes) : N, step = n / 50 + 2;
        uint64_t before = purge_counters().purged_bytes;
        take_filled(class, blocks, n);
        for (unsigned i = 0; i < n; i++) {
            if (i % step != 0)
                give(class, blocks[i]);
        }
        purge_all();
        is_valid();
        /* Blocks of less are too few to be worth a SuperSlab's 2 MiB page. */
        if (n * bytes >= SUPERSLAB_BYTES)
            assert_true(purge_counters().purged_bytes > before);
        for (unsigned round = 0; round < 2; round++) {
            for (unsigned i = 0; i < n; i += step)
                assert_true(reads_as(blocks[i], bytes, (int)(i % 255 + 1)));
            if (round == 1)
                break;
            for (unsigned i = 0; i < n; i++) {
                if (i % step == 0)
                    continue;
                assert_int_equal(span_take(0, class, (void **)&blocks[i], 1), 1);
                memset(blocks[i], 0xee, bytes);
            }
        }
        for (unsigned i = 0; i < n; i++)
            give(class, blocks[i]);
        span_trim();
        is_valid();
    }
}

/* What stays resident of sparse spans are the survivors' pages and no other. */
static void only_pages_of_survivors_stay(void **state)
{
    enum { BYTES = 64, N = (4 << 20) / BYTES, STEP = 3000 };
    static char *blocks[N];
    unsigned class = sizeclass_of(BYTES);
    (void)state;
    take_filled(class, blocks, N);
    for (unsigned i = 0; i < N; i++) {
        if (i % STEP != 0)
            give(class, blocks[i]);
    }
    purge_all();
    for (unsigned i = 0; i < N; i += STEP) {
        char *page = (char *)((uintptr_t)blocks[i] & ~(uintptr_t)(PAGE - 1));
        assert_true(is_resident(page));
        assert_true(reads_as(blocks[i], BYTES, (int)(i % 255 + 1)));
        /* Survivors are 46 pages apart. */
        char *unit = (char *)((uintptr_t)page & ~(uintptr_t)(UNIT_BYTES - 1));
        assert_in_range(n_resident(unit, UNIT_BYTES), 1, 2);
    }
    /* Nothing new to be had. */
    uint64_t before = purge_counters().purged_bytes;
    purge_all();
    assert_int_equal(purge_counters().purged_bytes, before);
    for (unsigned i = 0; i < N; i += STEP)
        give(class, blocks[i]);
    span_trim();
}

/* Free units of a SuperSlab: zero afterwards, and known to be so; used again when no others are
 * left, written and read. */
static void free_units_go_and_are_zero(void **state)
{
    bool zero;
    (void)state;
    char *keeper = large_allocate(9 * UNIT_BYTES, 16, &zero);
    char *whole = keeper + UNIT_BYTES;
    char *others[] = {large_allocate(16 * UNIT_BYTES, 16, &zero),
                      large_allocate(7 * UNIT_BYTES, 16, &zero)};
    assert_int_equal(window_index(others[1]), window_index(keeper));
    memset(keeper, 0x5a, 9 * UNIT_BYTES);
    assert_true(large_resize(keeper, UNIT_BYTES));
    purge_all();
    is_valid();
    assert_int_equal(n_resident(whole, 8 * UNIT_BYTES), 0);
    assert_int_equal(n_resident(keeper, UNIT_BYTES), 16);
    char *again = large_allocate(8 * UNIT_BYTES, 16, &zero);
    assert_ptr_equal(again, whole);
    assert_true(zero);
    assert_true(reads_as(again, 8 * UNIT_BYTES, 0));
    assert_true(reads_as(keeper, UNIT_BYTES, 0x5a));
    /* It has been handed out: no longer. */
    large_free(again);
    again = large_allocate(8 * UNIT_BYTES, 16, &zero);
    assert_ptr_equal(again, whole);
    assert_false(zero);
    large_free(again);
    large_free(others[0]);
    large_free(others[1]);
    large_free(keeper);
}

/* A 2 MiB page is not given up for a unit. */
static void little_is_left_alone(void **state)
{
    bool zero;
    (void)state;
    char *all = large_allocate(LARGE_MAX_BYTES, 16, &zero); /* half a SuperSlab */
    char *rest = large_allocate(LARGE_MAX_BYTES, 16, &zero);
    assert_int_equal(window_index(all), window_index(rest));
    memset(all, 1, LARGE_MAX_BYTES);
    uint64_t before = purge_counters().purged_bytes;
    assert_true(large_resize(all, LARGE_MAX_BYTES - UNIT_BYTES));
    purge_all();
    assert_int_equal(purge_counters().purged_bytes, before);
    assert_true(large_resize(all, LARGE_MAX_BYTES - 4 * UNIT_BYTES));
    purge_all();
    assert_int_equal(purge_counters().purged_bytes, before + 4 * UNIT_BYTES);
    large_free(all);
    large_free(rest);
}

static uint64_t seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

/* The first class with so many units to a span that its pages alone are worth purging. */
static unsigned class_of_long_spans(void)
{
    unsigned class = 1;
    while (sizeclasses[class].n_units < 5 || sizeclasses[class].n_blocks < 8)
        class ++;
    return class;
}

static char *start_of_span(const char *block)
{
    uint32_t index = window_index(block);
    return (char *)window_address(index) +
           window_slab(index)->first_unit[window_unit(block)] * UNIT_BYTES;
}

/* Slow paths purge what is at rest; a span that blocks are taken from meanwhile is not. */
static void what_is_in_use_stays(void **state)
{
    enum { BYTES = 256, N = (4 << 20) / BYTES, N_BUSY_MAX = 200 };
    static char *quiet[N], *busy[N_BUSY_MAX], *last;
    unsigned class = sizeclass_of(BYTES), other = class_of_long_spans();
    unsigned n_busy = sizeclasses[other].n_blocks * 4u;
    size_t span_bytes = sizeclasses[other].n_units * UNIT_BYTES;
    uint64_t before = purge_counters().purged_bytes, end = seconds_now() + BOUND_S;
    (void)state;
    assert_in_range(n_busy, 24, N_BUSY_MAX);
    take_filled(class, quiet, N);
    take_filled(other, busy, n_busy);
    last = busy[n_busy - 1]; /* the first ones are in shorter spans */
    busy[n_busy - 1] = busy[0];
    busy[0] = last;
    for (unsigned i = 1; i < N; i++)
        give(class, quiet[i]);
    /* Of one span all but one block; it is the only one from which blocks are to be had. */
    char *span = start_of_span(busy[0]);
    memset(span, 1, span_bytes);
    for (unsigned i = 1; i < n_busy; i++) {
        if (start_of_span(busy[i]) == span)
            give(other, busy[i]);
    }
    while (purge_counters().purged_bytes == before) {
        void *block;
        assert_true(seconds_now() < end);
        assert_int_equal(span_take(0, other, &block, 1), 1);
        assert_ptr_equal(start_of_span(block), span);
        give(other, block);
        purge_tick();
    }
    assert_int_equal(n_resident(span, span_bytes), span_bytes / PAGE);
    is_valid();
    give(class, quiet[0]);
    for (unsigned i = 1; i < n_busy; i++) {
        if (start_of_span(busy[i]) != span)
            give(other, busy[i]);
    }
    give(other, busy[0]);
    span_trim();
}

/* The kernel's flags of the page at `at`, if this process may know them. */
static bool read_flags(const void *at, uint64_t *flags)
{
    uint64_t entry;
    int maps = open("/proc/self/pagemap", O_RDONLY), all = open("/proc/kpageflags", O_RDONLY);
    bool ok = maps >= 0 && all >= 0 &&
              pread(maps, &entry, 8, (off_t)((uintptr_t)at / PAGE * 8)) == 8 &&
              (entry & (((uint64_t)1 << 55) - 1)) != 0 &&
              pread(all, flags, 8, (off_t)((entry & (((uint64_t)1 << 55) - 1)) * 8)) == 8;
    if (maps >= 0)
        close(maps);
    if (all >= 0)
        close(all);
    return ok;
}

/* Else the kernel has all of what was purged still, until memory is short. */
static void what_stays_is_not_part_of_a_huge_page(void **state)
{
    enum { BYTES = 1024, N = (8 << 20) / BYTES, STEP = 500, COMPOUND = 1 << 15 | 1 << 16 };
    static char *blocks[N];
    unsigned class = sizeclass_of(BYTES), n_huge = 0;
    uint64_t flags;
    (void)state;
    span_trim();
    source_trim(0); /* what is taken comes in afresh */
    take_filled(class, blocks, N);
    for (unsigned i = 0; i < N; i += STEP) {
        if (!read_flags(blocks[i], &flags))
            skip();
        n_huge += (flags & COMPOUND) != 0;
    }
    if (n_huge == 0) /* the kernel gave none */
        skip();
    for (unsigned i = 0; i < N; i++) {
        if (i % STEP != 0)
            give(class, blocks[i]);
    }
    purge_all();
    n_huge = 0;
    for (unsigned i = 0; i < N; i += STEP)
        n_huge += read_flags(blocks[i], &flags) && (flags & COMPOUND) != 0;
    /* Those in a SuperSlab of which too little went. */
    assert_in_range(n_huge, 0, (2 << 20) / BYTES / STEP);
    for (unsigned i = 0; i < N; i += STEP)
        give(class, blocks[i]);
    span_trim();
}

int main(void)
{
    settings.connect = SETTINGS_CONNECT_OFF;
    if (!heap_is_ready())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(free_units_go_and_are_zero), /* first, while the heap is empty */
        cmocka_unit_test(little_is_left_alone),
        cmocka_unit_test(survivors_keep_their_bytes),
        cmocka_unit_test(only_pages_of_survivors_stay),
        cmocka_unit_test(what_is_in_use_stays),
        cmocka_unit_test(what_stays_is_not_part_of_a_huge_page),
    };
    return cmocka_run_group_tests(tests, grow, NULL);
}
