/* See sizeclass.h. */
#include "libclient/sizeclass.h"

#include <string.h>

struct sizeclass sizeclasses[N_CLASSES];

/*
 * The usual span: the shortest one that wastes at most a sixteenth at its end and holds enough
 * blocks to be worth a list entry. Of the largest blocks one is enough: the fewer are together in a
 * span, the sooner all of them are free.
 */
static unsigned span_units(size_t block_bytes)
{
    size_t min_blocks = block_bytes <= 4096 ? 16 : block_bytes <= FEW_MAX_BYTES ? 4 : 1;
    unsigned n_units = 1;
    while (n_units < SPAN_MAX_UNITS) {
        size_t n_bytes = n_units * UNIT_BYTES;
        if (n_bytes / block_bytes >= min_blocks && n_bytes % block_bytes <= n_bytes / 16)
            break;
        n_units++;
    }
    return n_units;
}

void sizeclass_init(void)
{
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        size_t block_bytes = sizeclass_bytes(class);
        unsigned n_units = span_units(block_bytes);
        sizeclasses[class] = (struct sizeclass){
            .block_bytes = (uint32_t)block_bytes,
            .n_units = (uint8_t)n_units,
            .n_least_units = (uint8_t)((block_bytes + UNIT_BYTES - 1) >> UNIT_SHIFT),
            .n_blocks = (uint16_t)(n_units * UNIT_BYTES / block_bytes),
            .reciprocal =
                (((uint64_t)1 << SIZECLASS_RECIPROCAL_SHIFT) + block_bytes - 1) / block_bytes,
        };
    }
}

/* What a span may waste at its end, as one in so many parts of it. */
static unsigned waste_share(uint64_t n_spans)
{
    return n_spans == 0 ? 1 : n_spans == 1 ? 3 : 5;
}

unsigned sizeclass_span_units(unsigned class, uint64_t n_spans, uint64_t n_units_held)
{
    const struct sizeclass *size = &sizeclasses[class];
    unsigned n_units = size->n_least_units, share = waste_share(n_spans);
    if (n_units_held >= 2 * size->n_units)
        return size->n_units;
    while (n_units < size->n_units &&
           n_units * UNIT_BYTES % size->block_bytes * share > n_units * UNIT_BYTES)
        n_units++;
    return n_units;
}

/* A class at a time: each thread has such a table made. */
void sizeclass_tabulate(uint8_t *classes, size_t n_max)
{
    size_t n_done = 0;
    for (unsigned class = 1; n_done <= n_max; class ++) {
        size_t last = sizeclass_bytes(class) < n_max ? sizeclass_bytes(class) : n_max;
        memset(classes + n_done, (int)class, last + 1 - n_done);
        n_done = last + 1;
    }
}

unsigned sizeclass_of_aligned(size_t n_bytes, size_t alignment)
{
    if (n_bytes > SMALL_MAX_BYTES || alignment > UNIT_BYTES)
        return CLASS_NONE;
    size_t n_aligned = sizeclass_aligned_bytes(n_bytes, alignment);
    return n_aligned <= SMALL_MAX_BYTES ? sizeclass_of(n_aligned) : CLASS_NONE;
}
