/* Runs of bits in arrays of 64-bit words: which SuperSlabs of the window are taken, warm or cold.
 */
#ifndef HAKMEM_LIBCLIENT_BITMAP_H
#define HAKMEM_LIBCLIENT_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define BITMAP_WORDS(n_bits) (((n_bits) + 63) / 64)
#define BITMAP_NONE          UINT32_MAX

static inline bool bitmap_test(const uint64_t *words, uint32_t bit)
{
    return (words[bit / 64] >> (bit % 64)) & 1;
}

static inline void bitmap_set(uint64_t *words, uint32_t bit)
{
    words[bit / 64] |= (uint64_t)1 << (bit % 64);
}

static inline void bitmap_clear(uint64_t *words, uint32_t bit)
{
    words[bit / 64] &= ~((uint64_t)1 << (bit % 64));
}

/* The lowest bit in [from, end) whose value is `value`, or `end`. */
uint32_t bitmap_next(const uint64_t *words, uint32_t from, uint32_t end, bool value);

/* The lowest multiple of `align` in [from, end) at which `n` bits of that value begin, all below
 * end, or BITMAP_NONE. */
uint32_t bitmap_find_run(const uint64_t *words, uint32_t from, uint32_t end, uint32_t n,
                         uint32_t align, bool value);

/* Likewise, at the start of the shortest stretch that is long enough, of the first
 * BITMAP_TIGHT_LOOKS such; the lowest of equal ones. Longer ones stay whole. */
#define BITMAP_TIGHT_LOOKS 64u
uint32_t bitmap_find_tight_run(const uint64_t *words, uint32_t from, uint32_t end, uint32_t n,
                               uint32_t align, bool value);

#endif
