/*
 * The units that daemon and clients agree on.
 *
 * SuperSlab: 2 MiB, 2 MiB-aligned, the unit of state. Extent: one memfd of 1, 2, 4, 8 or 16
 * SuperSlabs, the unit of lease. Unit: 64 KiB, the grain in which a client carves a SuperSlab into
 * spans.
 */
#ifndef HAKMEM_COMMON_SUPERSLAB_H
#define HAKMEM_COMMON_SUPERSLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SUPERSLAB_SHIFT 21
#define SUPERSLAB_BYTES ((size_t)1 << SUPERSLAB_SHIFT)

#define UNIT_SHIFT          16
#define UNIT_BYTES          ((size_t)1 << UNIT_SHIFT)
#define UNITS_PER_SUPERSLAB (1u << (SUPERSLAB_SHIFT - UNIT_SHIFT))

#define EXTENT_MAX_ORDER 4
#define EXTENT_MAX_SLABS (1u << EXTENT_MAX_ORDER)

static inline size_t superslab_bytes(uint32_t n_slabs)
{
    return (size_t)n_slabs << SUPERSLAB_SHIFT;
}

/* Is this a size an extent can have, in SuperSlabs? */
static inline bool extent_slabs_is_valid(uint64_t n_slabs)
{
    return n_slabs >= 1 && n_slabs <= EXTENT_MAX_SLABS && (n_slabs & (n_slabs - 1)) == 0;
}

/* log2 of a valid extent size. */
static inline unsigned extent_order(uint32_t n_slabs)
{
    return (unsigned)__builtin_ctz(n_slabs);
}

#endif
