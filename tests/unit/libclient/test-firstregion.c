/*
 * The first region: a program that touches little stays in small pages, over however many size
 * classes it spreads that; one that touches much gets huge pages, and so do large blocks.
 *
 * One heap, which grows from test to test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "libclient/firstregion.h"
#include "libclient/heap.h"
#include "libclient/runs.h"
#include "libclient/source.h"
#include "libclient/span.h"
#include "libclient/window.h"

/* More units than a SuperSlab has, and hardly a page of each is touched. */
static void many_classes_stay_in_small_pages(void **state)
{
    (void)state;
    enum { N_CLASSES_TAKEN = 48 };
    static_assert(N_CLASSES_TAKEN > UNITS_PER_SUPERSLAB, "one SuperSlab is not enough");
    for (unsigned class = 1; class <= N_CLASSES_TAKEN; class ++) {
        void *block;
        assert_int_equal(span_take(0, class, &block, 1), 1);
        assert_true(runs_is_in_first_region(block));
        memset(block, 1, sizeclass_bytes(class));
    }
    assert_false(firstregion_is_outgrown());
    assert_int_equal(source_private_bytes(), superslab_bytes(2));
}

/* Most of their pages will be touched. They do not make the program one that has grown. */
static void large_blocks_go_elsewhere_alone(void **state)
{
    (void)state;
    enum { N = 8, FEW = 6 };
    bool zero;
    for (unsigned i = 0; i < N; i++) {
        void *block = heap_allocate(UNIT_BYTES, UNIT_BYTES, false, &zero);
        assert_non_null(block);
        assert_int_equal(runs_is_in_first_region(block), i < FEW);
    }
    assert_false(firstregion_is_outgrown());
    /* What their SuperSlab has left serves what grows. */
    bool is_elsewhere = false;
    unsigned class = sizeclass_of(4096);
    for (unsigned i = 0; i < UNIT_BYTES / 4096 && !is_elsewhere; i++) {
        void *block;
        assert_int_equal(span_take(0, class, &block, 1), 1);
        is_elsewhere = !runs_is_in_first_region(block);
    }
    assert_true(is_elsewhere);
    assert_false(firstregion_is_outgrown());
    assert_int_equal(source_private_bytes(), superslab_bytes(3));
}

/* A buffer for the largest case comes in page by page. */
static void wide_blocks_stay_untouched(void **state)
{
    (void)state;
    bool zero;
    enum { BYTES = 8 * UNIT_BYTES };
    unsigned char pages[BYTES / 4096], resident = 0;
    void *block = heap_allocate(BYTES, 16, false, &zero);
    assert_non_null(block);
    assert_true(zero);
    assert_true(runs_is_in_first_region(block));
    assert_int_equal(mincore(block, BYTES, pages), 0);
    for (unsigned i = 0; i < BYTES / 4096; i++)
        resident |= pages[i] & 1;
    assert_int_equal(resident, 0);
    assert_false(firstregion_is_outgrown());
}

static void much_that_is_touched_outgrows_it(void **state)
{
    (void)state;
    enum { BYTES = 1024, MUCH = 3 << 20 };
    unsigned class = sizeclass_of(BYTES);
    size_t n_bytes = 0;
    for (; n_bytes < MUCH && !firstregion_is_outgrown(); n_bytes += BYTES) {
        void *block;
        assert_int_equal(span_take(0, class, &block, 1), 1);
    }
    assert_true(firstregion_is_outgrown());
    /* From now on it gives nothing that was not in use. */
    void *block;
    for (unsigned i = 0; i < 2 * UNIT_BYTES / BYTES; i++)
        assert_int_equal(span_take(0, class, &block, 1), 1);
    assert_false(runs_is_in_first_region(block));
}

/* Of a class that a grown program begins with a few blocks may be all that it ever uses; but a heap
 * that is large has room for them. */
static void first_spans_stay_in_it_while_the_heap_is_small(void **state)
{
    (void)state;
    void *block;
    unsigned class = sizeclass_of(9000);
    assert_true(firstregion_is_outgrown());
    assert_int_equal(span_take(0, class, &block, 1), 1);
    assert_true(runs_is_in_first_region(block));
    assert_true(firstregion_suits(class, false, 4));
    assert_false(firstregion_suits(class, false, 100));
    assert_false(firstregion_suits(class, true, 4));
    assert_false(firstregion_suits(CLASS_LARGE, false, 4));
}

/* On huge pages a span of many units for one block would be a waste. */
static void rare_blocks_take_short_spans(void **state)
{
    (void)state;
    bool zero;
    enum { BYTES = 100000, N = 40 };
    unsigned class = sizeclass_of(BYTES);
    const struct sizeclass *size = &sizeclasses[class];
    uint64_t n_bytes, n_blocks, block_bytes = 0;
    void *blocks[N];
    assert_true(firstregion_is_outgrown());
    assert_true(size->n_units > 2 * size->n_least_units);
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = heap_allocate(BYTES, 16, false, &zero);
        assert_non_null(blocks[i]);
        assert_int_equal(window_class(blocks[i]), class);
        block_bytes += size->block_bytes;
        span_sizes(class, &n_bytes, &n_blocks);
        assert_true(n_bytes >= block_bytes);
        if (i == 0)
            assert_int_equal(n_bytes, size->n_least_units * UNIT_BYTES);
        /* A usual span more than what is used, and a third of it where it is little, is the most
         * that is taken. */
        assert_true(n_bytes <= block_bytes + block_bytes / 3 + size->n_units * UNIT_BYTES);
    }
    assert_true(n_bytes <= block_bytes + block_bytes / 8 + size->n_units * UNIT_BYTES);
    for (unsigned i = 0; i < N; i++)
        heap_free(blocks[i]);
}

/* A large block keeps its place, as long as it stays large. */
static void large_blocks_stay_large(void **state)
{
    (void)state;
    bool zero;
    void *block = heap_allocate(300000, 16, false, &zero);
    assert_non_null(block);
    assert_int_equal(window_class(block), CLASS_LARGE);
    assert_ptr_equal(heap_resize(block, 25000), block);
    heap_free(block);
}

/* By a program that says how much it will need. */
static void what_is_left_gets_nothing_new(void **state)
{
    (void)state;
    void *block;
    firstregion_leave();
    assert_int_equal(span_take(0, sizeclass_of(11000), &block, 1), 1);
    assert_false(runs_is_in_first_region(block));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_classes_stay_in_small_pages),
        cmocka_unit_test(wide_blocks_stay_untouched),
        cmocka_unit_test(large_blocks_go_elsewhere_alone),
        cmocka_unit_test(much_that_is_touched_outgrows_it),
        cmocka_unit_test(first_spans_stay_in_it_while_the_heap_is_small),
        cmocka_unit_test(rare_blocks_take_short_spans),
        cmocka_unit_test(large_blocks_stay_large),
        cmocka_unit_test(what_is_left_gets_nothing_new),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
