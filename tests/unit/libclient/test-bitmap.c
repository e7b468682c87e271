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

static void finds_what_a_slow_search_finds(void **state)
{
    (void)state;
    srandom(1);
    for (int round = 0; round < 20000; round++) {
        uint64_t words[BITMAP_WORDS(N_BITS)];
        unsigned density = (unsigned)random() % 100;
        memset(words, 0, sizeof(words));
        for (uint32_t i = 0; i < N_BITS; i++) {
            if ((unsigned)random() % 100 < density)
                bitmap_set(words, i);
        }
        uint32_t from = (uint32_t)random() % N_BITS,
                 end = from + (uint32_t)random() % (N_BITS - from);
        uint32_t n = 1 + (uint32_t)random() % 20, align = 1u << random() % 4;
        bool value = random() % 2;
        assert_int_equal(bitmap_find_run(words, from, end, n, align, value),
                         find_slowly(words, from, end, n, align, value));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_a_slow_search_finds),
        cmocka_unit_test(set_and_clear_touch_one_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
