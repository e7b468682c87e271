/* See large.h. A run's length stands in the span entry of its first unit, whose class is
 * CLASS_LARGE. */
#include "libclient/large.h"

#include "common/atomic.h"
#include "libclient/firstlarge.h"
#include "libclient/firstregion.h"
#include "libclient/glue.h"
#include "libclient/growth.h"
#include "libclient/misuse.h"
#include "libclient/runs.h"
#include "libclient/tick.h"
#include "libclient/window.h"

static uint64_t live_bytes;

static unsigned units_for(size_t n_bytes)
{
    return (unsigned)((n_bytes + UNIT_BYTES - 1) >> UNIT_SHIFT);
}

static struct span *entry_of(const void *block)
{
    return window_span(window_unit_number(block));
}

/* The entry of a live block; aborts if `block` is none. */
static struct span *live_entry(const void *block)
{
    struct span *entry = entry_of(block);
    if ((uintptr_t)block % UNIT_BYTES != 0 ||
        window_slab(window_index(block))->first_unit[window_unit(block)] != window_unit(block))
        misuse_abort(MISUSE_INTERIOR, block);
    if (entry->class != CLASS_LARGE)
        misuse_abort(MISUSE_DOUBLE_FREE, block);
    return entry;
}

void *large_allocate(size_t n_bytes, size_t alignment, bool *zero)
{
    unsigned n_units = units_for(n_bytes);
    unsigned align_units = alignment > UNIT_BYTES ? (unsigned)(alignment >> UNIT_SHIFT) : 1;
    void *block = runs_allocate(n_units, align_units, CLASS_LARGE, true, zero);
    if (!block)
        return NULL;
    growth_tick();
    /* In small pages: all of it comes in with one system call, which takes about as long as the
     * fault that its first page would cost. Not so of a wide one. */
    if (*zero && n_units < FIRSTREGION_WIDE_UNITS && runs_is_in_first_region(block))
        glue_populate(block, n_units * UNIT_BYTES);
    struct span *entry = entry_of(block);
    entry->class = CLASS_LARGE;
    entry->n_units = (uint8_t)n_units;
    atomic_add_relaxed(&live_bytes, n_units * UNIT_BYTES); /* a figure */
    return block;
}

void large_free(void *block)
{
    struct span *entry = live_entry(block);
    unsigned n_units = entry->n_units;
    entry->class = CLASS_NONE;
    atomic_sub_relaxed(&live_bytes, n_units * UNIT_BYTES);
    runs_free(block, n_units);
    tick();
}

size_t large_usable(const void *block)
{
    return live_entry(block)->n_units * UNIT_BYTES;
}

bool large_resize(void *block, size_t n_bytes)
{
    struct span *entry = live_entry(block);
    unsigned n_new = units_for(n_bytes), n_old = entry->n_units;
    if (!runs_resize(block, n_old, n_new, CLASS_LARGE))
        return false;
    entry->n_units = (uint8_t)n_new;
    atomic_add_relaxed(&live_bytes, n_new * UNIT_BYTES - n_old * UNIT_BYTES);
    return true;
}

uint64_t large_live_bytes(void)
{
    return atomic_load_relaxed(&live_bytes) + firstlarge_live_bytes();
}
