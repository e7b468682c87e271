/*
 * Size classes: which block size serves a request, and how a span of that class is laid out.
 *
 * Classes 1..8 are 16..128 bytes in steps of 16; from there on eight classes per doubling, up to
 * SMALL_MAX_BYTES: at most one ninth of a block is lost to rounding. That is as far as eight
 * classes and more per doubling save anything: the next one would be 256 KiB, and a large block of
 * four units is no larger. (A program that has not outgrown the first region gets what is above
 * FEW_MAX_BYTES as large blocks: a span of these classes would take a quarter of that SuperSlab.)
 * Class numbers also stand in the window's unit map, where 0 means "not ours" and the three above
 * the small classes mark large and huge blocks, and the first few of a process.
 */
#ifndef HAKMEM_LIBCLIENT_SIZECLASS_H
#define HAKMEM_LIBCLIENT_SIZECLASS_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ledger.h"
#include "common/superslab.h"

#define SMALL_MAX_BYTES ((size_t)245760)
#define FEW_MAX_BYTES   ((size_t)32768)

#define CLASS_NONE  0u
#define N_SMALL     95u /* classes 1..N_SMALL */
#define CLASS_LARGE (N_SMALL + 1)
#define CLASS_HUGE  (N_SMALL + 2)
#define CLASS_FIRST (N_SMALL + 3) /* of the blocks of firstblocks.h, whatever their sizes */
#define N_CLASSES   (N_SMALL + 4) /* entries of a table indexed by any class */

#define SPAN_MAX_BLOCKS (UNIT_BYTES / 16)
/* A span longer than this is not worth what it saves. */
#define SPAN_MAX_UNITS 16u

static_assert(N_SMALL < LEDGER_N_CLASSES, "every class has its place in the ledger");

struct sizeclass {
    uint32_t block_bytes;
    uint16_t n_blocks;     /* per usual span */
    uint8_t n_units;       /* per usual span */
    uint8_t n_least_units; /* that hold a block */
    uint64_t
        reciprocal; /* offset / block_bytes == offset * reciprocal >> SIZECLASS_RECIPROCAL_SHIFT */
};

/*
 * Exact for every offset within a span: the reciprocal is rounded up by less than 1, so offset *
 * error < 2^20 * 2^18, below 2^40.
 */
#define SIZECLASS_RECIPROCAL_SHIFT 40

/* Filled by sizeclass_init(); constant from then on. */
extern struct sizeclass sizeclasses[N_CLASSES] __attribute__((visibility("hidden")));

void sizeclass_init(void);

static inline bool sizeclass_is_small(unsigned class)
{
    return class - 1 < N_SMALL;
}

/*
 * How long the next span is to be, where the class has so many of so many units together. The first
 * one is the shortest that there can be, as it may be all that the class ever needs; the next ones
 * are longer only where that wastes much at the end, until there are two usual ones' worth.
 */
unsigned sizeclass_span_units(unsigned class, uint64_t n_spans, uint64_t n_units_held);

/* Block size of small class `class`. */
static inline size_t sizeclass_bytes(unsigned class)
{
    if (class <= 8)
        return (size_t) class * 16;
    unsigned doubling = (class - 9) / 8;
    unsigned step = (class - 9) % 8 + 1;
    return ((size_t)128 << doubling) + ((size_t)16 << doubling) * step;
}

/* The class that serves `n_bytes` (0 <= n_bytes <= SMALL_MAX_BYTES). */
static inline unsigned sizeclass_of(size_t n_bytes)
{
    if (n_bytes <= 128)
        return n_bytes <= 16 ? 1 : (unsigned)((n_bytes + 15) / 16);
    size_t last = n_bytes - 1;
    unsigned top_bit = 63 - (unsigned)__builtin_clzl(last);
    return 9 + 8 * (top_bit - 7) + (unsigned)((last >> (top_bit - 3)) & 7);
}

/* classes[n] for each n from 0 to n_max: the class that serves n bytes. For n_max <=
 * SMALL_MAX_BYTES. */
void sizeclass_tabulate(uint8_t *classes, size_t n_max);

/*
 * What to ask for, to get n_bytes at a multiple of `alignment` (a power of two, at most
 * UNIT_BYTES): the class of a size that is such a multiple has blocks of such a size, as the steps
 * from class to class are powers of two; and spans begin at multiples of UNIT_BYTES.
 */
static inline size_t sizeclass_aligned_bytes(size_t n_bytes, size_t alignment)
{
    return n_bytes == 0 ? alignment : (n_bytes + alignment - 1) & ~(alignment - 1);
}

/* The class that serves `n_bytes` at a multiple of `alignment` (a power of two), or CLASS_NONE if
 * none does. */
unsigned sizeclass_of_aligned(size_t n_bytes, size_t alignment);

static inline uint32_t sizeclass_block_index(unsigned class, size_t offset)
{
    return (uint32_t)((offset * sizeclasses[class].reciprocal) >> SIZECLASS_RECIPROCAL_SHIFT);
}

#endif
