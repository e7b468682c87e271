/* See firstregion.h. */
#include "libclient/firstregion.h"

#include "common/atomic.h"
#include "libclient/firstlarge.h"

/* So much touched, and the program has grown. */
#define SPARSE_BYTES (8 * UNIT_BYTES)
/* Large blocks elsewhere count for less: they say little about the small ones. */
#define LARGE_DIVISOR 4u
/* Units of large blocks that are put into small pages. */
#define FEW_LARGE_UNITS 6u
#define MAX_WIDE_UNITS  UNITS_PER_SUPERSLAB
/* SuperSlabs for what spreads little over many classes: address space and page tables, not memory.
 */
#define MAX_FURTHER 3u
/* From so many on a heap is not small, and another 2 MiB do not matter. */
#define SMALL_HEAP_SLABS 8u
/* Smaller blocks come in numbers, and what is left of a huge page is soon theirs. */
#define SCARCE_BYTES 2048u

static uint8_t is_outgrown;
static uint8_t is_left;    /* for good, by what the program says */
static uint32_t n_further; /* SuperSlabs after the first */

bool firstregion_is_outgrown(void)
{
    return atomic_load_relaxed(&is_outgrown); /* a hint */
}

void firstregion_outgrow(void)
{
    atomic_store_relaxed(&is_outgrown, 1); /* a hint */
}

void firstregion_leave(void)
{
    atomic_store_relaxed(&is_left, 1); /* likewise */
    firstregion_outgrow();
}

struct firstregion_use firstregion_no_use(void)
{
    size_t n_bytes = firstlarge_live_bytes();
    return (struct firstregion_use){.touched_bytes = n_bytes / LARGE_DIVISOR};
}

static void add_large_unit(struct firstregion_use *use, const struct superslab *slab, unsigned unit)
{
    if (!slab->is_first_region) {
        use->touched_bytes += UNIT_BYTES / LARGE_DIVISOR;
        return;
    }
    unsigned begin = slab->first_unit[unit], wide_end = begin + FIRSTREGION_WIDE_UNITS - 1;
    if (wide_end < UNITS_PER_SUPERSLAB && !((slab->free_units >> wide_end) & 1) &&
        slab->first_unit[wide_end] == begin) {
        use->n_wide_units++;
    } else {
        use->n_large_units++;
        use->touched_bytes += UNIT_BYTES;
    }
}

void firstregion_add_use(struct firstregion_use *use, const struct superslab *slab)
{
    uint32_t index = (uint32_t)(slab - window.slabs);
    const uint8_t *classes = &window.unit_class[(uintptr_t)window_address(index) >> UNIT_SHIFT];
    size_t first_unit = (size_t)index * UNITS_PER_SUPERSLAB;
    for (unsigned unit = 0; unit < UNITS_PER_SUPERSLAB; unit++) {
        if ((slab->free_units >> unit) & 1)
            continue;
        if (classes[unit] == CLASS_LARGE) {
            add_large_unit(use, slab, unit);
        } else if (classes[unit] == CLASS_FIRST && slab->first_unit[unit] == unit) {
            use->touched_bytes += FIRSTREGION_STEP_BYTES *
                                  atomic_load_relaxed(&window_span(first_unit + unit)->n_carved);
        } else if (classes[unit] != CLASS_FIRST && slab->first_unit[unit] == unit) {
            /* Relaxed: its owner may be carving; this is an estimate. */
            use->touched_bytes += atomic_load_relaxed(&window_span(first_unit + unit)->n_carved) *
                                  (size_t)sizeclasses[classes[unit]].block_bytes;
        }
    }
}

bool firstregion_is_sparse(const struct firstregion_use *use)
{
    return use->touched_bytes < SPARSE_BYTES;
}

/* Is it for small pages, of a program that has not outgrown them? */
static bool is_small_enough(unsigned n_units, unsigned class, const struct firstregion_use *use)
{
    if (!firstregion_is_sparse(use))
        return false;
    if (class != CLASS_LARGE)
        return true;
    return n_units < FIRSTREGION_WIDE_UNITS ? use->n_large_units + n_units <= FEW_LARGE_UNITS
                                            : use->n_wide_units + n_units <= MAX_WIDE_UNITS;
}

bool firstregion_suits(unsigned class, bool grows, uint32_t n_carved)
{
    return class != CLASS_LARGE && !grows && n_carved < SMALL_HEAP_SLABS &&
           sizeclasses[class].block_bytes >= SCARCE_BYTES && !atomic_load_relaxed(&is_left);
}

bool firstregion_has_room(void)
{
    return n_further < MAX_FURTHER;
}

bool firstregion_may_extend(unsigned n_units, unsigned class, const struct firstregion_use *use)
{
    return firstregion_has_room() && is_small_enough(n_units, class, use);
}

void firstregion_extend(void)
{
    n_further++;
}

uint32_t firstregion_eligible_units(const struct superslab *slab, unsigned n_units, unsigned class,
                                    bool grows, const struct firstregion_use *use)
{
    if (!grows && !atomic_load_relaxed(&is_left))
        return slab->free_units;
    if (firstregion_is_outgrown())
        return slab->free_units & (slab->dirty_units | slab->purged_units);
    return is_small_enough(n_units, class, use) ? slab->free_units : 0;
}
