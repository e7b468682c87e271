/*
 * random: the pseudo-random numbers of the test programs: repeatable by their seed, and of the
 * program's own memory alone, as these programs run on the allocator under test.
 */
#ifndef HAKMEM_TESTS_RANDOM_H
#define HAKMEM_TESTS_RANDOM_H

#include <stdint.h>

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
 * *state must not be 0, and never becomes it. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

#endif
