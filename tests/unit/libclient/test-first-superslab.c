/*
 * The first SuperSlab, which has small pages: what is handed out of it comes in by system calls for
 * many pages each, ahead of the faults, and no more of it than is about to be used.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "libclient/firstregion.h"
#include "libclient/heap.h"
#include "libclient/runs.h"
#include "libclient/span.h"
#include "libclient/window.h"

#define PAGE ((size_t)4096)

static size_t n_resident(const void *at, size_t n_bytes)
{
    unsigned char pages[SUPERSLAB_BYTES / PAGE];
    size_t n = 0, n_pages = (n_bytes + PAGE - 1) / PAGE;
    void *begin = (void *)((uintptr_t)at & ~(PAGE - 1));
    assert_int_equal(mincore(begin, n_pages * PAGE, pages), 0);
    for (size_t i = 0; i < n_pages; i++)
        n += pages[i] & 1;
    return n;
}

/* What is written down about the first units and SuperSlabs is in two pages in a row, for which one
 * page of page table does; the entries do not overlap, and lead back to their units. */
static void metadata_begins_in_one_place(void **state)
{
    (void)state;
    enum { N_UNITS = 3 * UNITS_PER_SUPERSLAB };
    assert_ptr_equal(window_span(0) + 1, window_slab(0));
    assert_int_equal((uintptr_t)window_span(0) / SUPERSLAB_BYTES,
                     (uintptr_t)window_slab(2) / SUPERSLAB_BYTES);
    assert_int_equal(n_resident(window_span(0), sizeof(struct span)), 1);
    assert_int_equal(n_resident(window_slab(0), sizeof(struct superslab)), 1);
    for (size_t unit = 0; unit < N_UNITS; unit++) {
        assert_int_equal(window_span_unit(window_span(unit)), unit);
        assert_ptr_equal(span_start(window_span(unit)),
                         (char *)window_address(0) + unit * UNIT_BYTES);
    }
}

static void a_large_block_comes_in_as_a_whole(void **state)
{
    (void)state;
    bool zero;
    char *block = heap_allocate(UNIT_BYTES, UNIT_BYTES, false, &zero);
    assert_non_null(block);
    assert_true(runs_is_in_first_region(block));
    assert_int_equal(n_resident(block, UNIT_BYTES), UNIT_BYTES / PAGE);
    *state = block; /* stays: its pages would be seen in the next test */
}

/* However many blocks are taken at once, all of their pages are there, but for the first one of the
 * span, which is left to its fault; and none that no block is on. */
static void blocks_come_in_before_they_are_taken(void **state)
{
    (void)state;
    enum { N = 40, BYTES = 1024 };
    unsigned class = sizeclass_of(BYTES);
    void *blocks[N];
    assert_int_equal(span_take(0, class, blocks, 1), 1);
    char *span = (char *)((uintptr_t)blocks[0] & ~(UNIT_BYTES - 1));
    assert_true(runs_is_in_first_region(span));
    assert_int_equal(n_resident(span, UNIT_BYTES), 0);
    assert_int_equal(span_take(0, class, blocks + 1, N - 1), N - 1);
    assert_int_equal(n_resident(span, PAGE), 0);
    assert_int_equal(n_resident(span, UNIT_BYTES), N * BYTES / PAGE - 1);
    span_give(class, blocks, N);
}

static void what_comes_in_doubles(void **state)
{
    (void)state;
    enum { BYTES = 1280, N = UNIT_BYTES / BYTES };
    unsigned class = sizeclass_of(BYTES);
    void *blocks[N];
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(span_take(0, class, blocks + i, 1), 1);
        char *span = (char *)((uintptr_t)blocks[0] & ~(UNIT_BYTES - 1));
        unsigned n_needed = ((i + 1) * BYTES + PAGE - 1) / PAGE, n = 1;
        *(char *)blocks[i] = 1;
        while (n < n_needed)
            n *= 2;
        assert_int_equal(n_resident(span, UNIT_BYTES), n);
    }
    span_give(class, blocks, N);
}

/* A class that grows, when the program has outgrown the SuperSlab, gets what had come in of its
 * span, and no more of it. One that has hardly begun goes on. */
static void a_span_ends_where_the_program_has_outgrown_it(void **state)
{
    (void)state;
    enum { N = 5, N_READY = 1, N_HALF = 3, N_USUAL = 6 }; /* three in one unit, two units */
    unsigned class = sizeclass_of(20000), other = sizeclass_of(18000);
    void *blocks[N_USUAL + N], *others[N_HALF + 1];
    assert_int_equal(sizeclasses[class].n_blocks, N_USUAL);
    assert_int_equal(sizeclasses[other].n_blocks / 2, N_HALF);
    for (unsigned i = 0; i < N_USUAL + 1; i++)
        assert_int_equal(span_take(0, class, blocks + i, 1), 1);
    assert_int_equal(span_take(0, other, others, 1), 1);
    firstregion_outgrow();
    for (unsigned i = N_USUAL + 1; i < N_USUAL + N; i++)
        assert_int_equal(span_take(0, class, blocks + i, 1), 1);
    for (unsigned i = 0; i < N_USUAL + N; i++)
        assert_int_equal(runs_is_in_first_region(blocks[i]), i < N_USUAL + N_READY);
    for (unsigned i = 1; i < N_HALF + 1; i++)
        assert_int_equal(span_take(0, other, others + i, 1), 1);
    for (unsigned i = 0; i < N_HALF + 1; i++)
        assert_true(runs_is_in_first_region(others[i]));
    span_give(class, blocks, N_USUAL + N);
    span_give(other, others, N_HALF + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_begins_in_one_place),
        cmocka_unit_test(a_large_block_comes_in_as_a_whole),
        cmocka_unit_test(blocks_come_in_before_they_are_taken),
        cmocka_unit_test(what_comes_in_doubles),
        cmocka_unit_test(a_span_ends_where_the_program_has_outgrown_it),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
