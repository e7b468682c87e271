/*
 * A fuzzer's input as a stream of small decisions. When it is used up, everything is 0.
 */
#ifndef HAKMEM_TESTS_FUZZ_INPUT_H
#define HAKMEM_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
    const uint8_t *bytes;
    size_t n_left;
};

static inline uint8_t input_byte(struct input *in)
{
    if (in->n_left == 0)
        return 0;
    in->n_left--;
    return *in->bytes++;
}

static inline uint32_t input_u16(struct input *in)
{
    uint32_t high = input_byte(in);
    return high << 8 | input_byte(in);
}

static inline uint32_t input_u32(struct input *in)
{
    uint32_t high = input_u16(in);
    return high << 16 | input_u16(in);
}

/* Mostly small, sometimes of any size. */
static inline uint64_t input_number(struct input *in)
{
    uint8_t kind = input_byte(in);
    if (kind < 200)
        return kind;
    if (kind < 230)
        return input_u16(in);
    uint64_t high = input_u32(in);
    return kind < 245 ? high : high << 32 | input_u32(in);
}

/* The next `n` bytes, or as many as are left; `*n` says how many. */
static inline const uint8_t *input_run(struct input *in, size_t *n)
{
    const uint8_t *run = in->bytes;
    if (*n > in->n_left)
        *n = in->n_left;
    in->bytes += *n;
    in->n_left -= *n;
    return run;
}

#endif
