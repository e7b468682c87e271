/* Size classes: every size has the smallest class that holds it, and offsets divide exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libclient/sizeclass.h"

static void every_size_has_the_smallest_class(void **state)
{
    (void)state;
    for (size_t n = 0; n <= SMALL_MAX_BYTES; n++) {
        unsigned class = sizeclass_of(n);
        assert_in_range(class, 1, N_SMALL);
        assert_true(sizeclass_bytes(class) >= n);
        assert_true(class == 1 || sizeclass_bytes(class - 1) < n);
    }
    assert_int_equal(sizeclass_of(SMALL_MAX_BYTES), N_SMALL);
}

static void the_table_says_the_same(void **state)
{
    (void)state;
    static uint8_t classes[SMALL_MAX_BYTES + 2];
    const size_t ends[] = {0, 16, 17, 4096, 4100, SMALL_MAX_BYTES};
    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        memset(classes, 0xee, sizeof(classes));
        sizeclass_tabulate(classes, ends[i]);
        for (size_t n = 0; n <= ends[i]; n++)
            assert_int_equal(classes[n], sizeclass_of(n));
        assert_int_equal(classes[ends[i] + 1], 0xee);
    }
}

static void rounding_is_bounded(void **state)
{
    (void)state;
    for (size_t n = 129; n <= SMALL_MAX_BYTES; n++)
        assert_true((sizeclass_bytes(sizeclass_of(n)) - n) * 9 <= sizeclass_bytes(sizeclass_of(n)));
}

static void spans_fit_and_waste_little(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        const struct sizeclass *size = &sizeclasses[class];
        size_t n_bytes = size->n_units * UNIT_BYTES;
        assert_true((size_t)size->n_blocks * size->block_bytes <= n_bytes);
        assert_true(n_bytes - (size_t)size->n_blocks * size->block_bytes <= n_bytes / 16);
        assert_int_equal(size->block_bytes % 16, 0);
    }
}

/* The first span holds a block and no more than it must, the next ones waste ever less of
 * themselves, and a class that has much gets usual ones. */
static void spans_begin_short(void **state)
{
    (void)state;
    const unsigned shares[] = {1, 3, 5, 5};
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        const struct sizeclass *size = &sizeclasses[class];
        size_t least = (size->block_bytes + UNIT_BYTES - 1) / UNIT_BYTES;
        uint64_t n_held = 0;
        assert_int_equal(size->n_least_units, least);
        assert_int_equal(sizeclass_span_units(class, 0, 0), least);
        for (unsigned n_spans = 0; n_spans < 4 && n_held < 2 * size->n_units; n_spans++) {
            unsigned n_units = sizeclass_span_units(class, n_spans, n_held);
            size_t n_bytes = n_units * UNIT_BYTES, waste = n_bytes % size->block_bytes;
            assert_in_range(n_units, least, size->n_units);
            assert_true(waste <= n_bytes / shares[n_spans]);
            /* None that is shorter would do. */
            for (size_t n = least; n < n_units; n++)
                assert_true(n * UNIT_BYTES % size->block_bytes > n * UNIT_BYTES / shares[n_spans]);
            n_held += n_units;
        }
        assert_int_equal(sizeclass_span_units(class, 2, 2 * size->n_units), size->n_units);
        assert_int_equal(sizeclass_span_units(class, 9, 1000), size->n_units);
    }
}

static void every_offset_divides_exactly(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        size_t n_bytes = sizeclasses[class].n_units * UNIT_BYTES;
        for (size_t offset = 0; offset < n_bytes; offset++)
            assert_int_equal(sizeclass_block_index(class, offset),
                             offset / sizeclasses[class].block_bytes);
    }
}

static void alignment_is_met_or_refused(void **state)
{
    (void)state;
    for (size_t align = 16; align <= UNIT_BYTES; align *= 2) {
        for (size_t n = 1; n <= SMALL_MAX_BYTES; n += 61) {
            unsigned class = sizeclass_of_aligned(n, align);
            if (class == CLASS_NONE) {
                for (class = sizeclass_of(n); class <= N_SMALL; class ++)
                    assert_int_not_equal(sizeclass_bytes(class) % align, 0);
                continue;
            }
            assert_in_range(class, 1, N_SMALL);
            assert_true(sizeclass_bytes(class) >= n);
            assert_int_equal(sizeclass_bytes(class) % align, 0);
        }
    }
    assert_int_equal(sizeclass_of_aligned(1, 2 * UNIT_BYTES), CLASS_NONE);
    assert_int_equal(sizeclass_of_aligned(SMALL_MAX_BYTES + 1, 16), CLASS_NONE);
}

int main(void)
{
    sizeclass_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_has_the_smallest_class),
        cmocka_unit_test(the_table_says_the_same),
        cmocka_unit_test(rounding_is_bounded),
        cmocka_unit_test(spans_fit_and_waste_little),
        cmocka_unit_test(spans_begin_short),
        cmocka_unit_test(every_offset_divides_exactly),
        cmocka_unit_test(alignment_is_met_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
