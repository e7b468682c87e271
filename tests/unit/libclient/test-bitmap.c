/* Runs of bits, against a search bit by bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libclient/bitmap.h"

#define N_BITS 300u

static uint32_t find_slowly(const uint64_t *words, uint32_t from, uint32_t end, uint32_t n,
                            uint32_t align, bool value)
{
    for (uint32_t at = from; at + n <= end; at++) {
        uint32_t k = 0;
        if (at % align != 0)
            continue;
        while (k < n && bitmap_test(words, at + k) == value)
            k++;
        if (k == n)
            return at;
    }
    return BITMAP_NONE;
}

/* In the shortest stretch of such bits, from an aligned place on, that has room for it. */
static uint32_t find_tight_slowly(const uint64_t *words, uint32_t from, uint32_t end, uint32_t n,
                                  uint32_t align, bool value)
{
    uint32_t best = BITMAP_NONE, best_length = UINT32_MAX;
    while (from < end) {
        uint32_t at = find_slowly(words, from, end, n, align, value), length = 0;
        if (at == BITMAP_NONE)
            break;
        while (at + length < end && bitmap_test(words, at + length) == value)
            length++;
        if (length < best_length) {
            best = at;
            best_length = length;
        }
        from = at + length;
    }
    return best;
}

static void fill(uint64_t *words)
{
    unsigned density = (unsigned)random() % 100;
    memset(words, 0, BITMAP_WORDS(N_BITS) * sizeof(*words));
    for (uint32_t i = 0; i < N_BITS; i++) {
        if ((unsigned)random() % 100 < density)
            bitmap_set(words, i);
    }
}

static void the_search_for_a_place_is_bounded(void **state)
{
    (void)state;
    enum { N_STRETCHES = BITMAP_TIGHT_LOOKS + 1, EACH = 4 };
    uint64_t words[BITMAP_WORDS(N_STRETCHES * EACH)] = {0};
    /* Two and two, but for one behind the last that is looked at. */
    for (uint32_t i = 0; i < N_STRETCHES * EACH; i++) {
        if (i % EACH < (i / EACH < BITMAP_TIGHT_LOOKS ? 2 : 1))
            bitmap_set(words, i);
    }
    assert_int_equal(bitmap_find_tight_run(words, 0, N_STRETCHES * EACH, 1, 1, true), 0);
    assert_int_equal(bitmap_find_tight_run(words, EACH, N_STRETCHES * EACH, 1, 1, true),
                     BITMAP_TIGHT_LOOKS * EACH);
}

static void finds_what_a_slow_search_finds(void **state)
{
    (void)state;
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        uint64_t words[BITMAP_WORDS(N_BITS)];
        fill(words);
        uint32_t from = (uint32_t)random() % N_BITS,
                 end = from + (uint32_t)random() % (N_BITS - from);
        uint32_t n = 1 + (uint32_t)random() % 20, align = 1u << random() % 4;
        bool value = random() % 2;
        assert_int_equal(bitmap_find_run(words, from, end, n, align, value),
                         find_slowly(words, from, end, n, align, value));
        if (n > 2) /* no more stretches than are looked at */
            assert_int_equal(bitmap_find_tight_run(words, from, end, n, align, value),
                             find_tight_slowly(words, from, end, n, align, value));
    }
}

static void set_and_clear_touch_one_bit(void **state)
{
    (void)state;
    uint64_t words[2] = {0, 0};
    bitmap_set(words, 64);
    assert_true(bitmap_test(words, 64));
    assert_int_equal(words[0], 0);
    assert_int_equal(bitmap_next(words, 0, 128, true), 64);
    bitmap_clear(words, 64);
    assert_int_equal(bitmap_next(words, 0, 128, true), 128);
}

static void a_run_is_set_and_cleared_and_nothing_else(void **state)
{
    (void)state;
    srandom(2);
    for (int round = 0; round < 20000; round++) {
        uint64_t words[BITMAP_WORDS(N_BITS)], wanted[BITMAP_WORDS(N_BITS)];
        fill(words);
        memcpy(wanted, words, sizeof(words));
        uint32_t first = (uint32_t)random() % N_BITS, n = (uint32_t)random() % (N_BITS + 1 - first);
        bool value = random() % 2;
        for (uint32_t i = first; i < first + n; i++)
            (value ? bitmap_set : bitmap_clear)(wanted, i);
        (value ? bitmap_set_run : bitmap_clear_run)(words, first, n);
        assert_memory_equal(words, wanted, sizeof(words));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_a_slow_search_finds),
        cmocka_unit_test(the_search_for_a_place_is_bounded),
        cmocka_unit_test(set_and_clear_touch_one_bit),
        cmocka_unit_test(a_run_is_set_and_cleared_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
