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

/* Of `n` bits from `first` on, one or more: those in the first one's word. */
static inline uint64_t bitmap_mask(uint32_t first, uint32_t n)
{
    uint64_t ones = ~(uint64_t)0;
    return (n < 64 ? ones >> (64 - n) : ones) << (first % 64);
}

static inline void bitmap_set_run(uint64_t *words, uint32_t first, uint32_t n)
{
    for (uint32_t end = first + n; first < end; first = (first | 63) + 1)
        words[first / 64] |= bitmap_mask(first, end - first);
}

static inline void bitmap_clear_run(uint64_t *words, uint32_t first, uint32_t n)
{
    for (uint32_t end = first + n; first < end; first = (first | 63) + 1)
        words[first / 64] &= ~bitmap_mask(first, end - first);
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
