/* See holes.h. */
#include "libclient/holes.h"

#include "common/atomic.h"
#include "libclient/glue.h"
#include "libclient/window.h"

uint16_t *holes_of_unit;

uint64_t holes_grown_bytes;
static uint64_t closed_bytes;
static uint64_t open_bytes;

bool holes_init(void)
{
    if (holes_of_unit)
        return true;
    size_t n_bytes = (size_t)window.n_slabs * UNITS_PER_SUPERSLAB * sizeof(*holes_of_unit);
    void *at = glue_reserve(n_bytes);
    if (at && !glue_make_usable(at, n_bytes)) {
        glue_unreserve(at, n_bytes);
        at = NULL;
    }
    /* Pairs with the acquire in holes_if_any(). */
    atomic_store_release(&holes_of_unit, at);
    return at != NULL;
}

void holes_open(size_t unit, uint16_t pages)
{
    holes_of_unit[unit] |= pages;
    atomic_add_relaxed(&open_bytes, (unsigned)__builtin_popcount(pages) * PAGE_BYTES);
}

void holes_close(size_t unit, uint16_t pages)
{
    size_t n_bytes = (unsigned)__builtin_popcount(pages) * PAGE_BYTES;
    holes_of_unit[unit] &= (uint16_t)~pages;
    atomic_sub_relaxed(&open_bytes, n_bytes);
    atomic_add_relaxed(&holes_grown_bytes, n_bytes);
    atomic_add_relaxed(&closed_bytes, n_bytes);
}

void holes_forget(size_t unit)
{
    size_t n_bytes = (unsigned)__builtin_popcount(holes_of_unit[unit]) * PAGE_BYTES;
    holes_of_unit[unit] = 0;
    atomic_sub_relaxed(&open_bytes, n_bytes);
}

void holes_count_new(size_t n_bytes)
{
    atomic_add_relaxed(&holes_grown_bytes, n_bytes);
}

uint64_t holes_closed_bytes(void)
{
    return atomic_load_relaxed(&closed_bytes);
}

uint64_t holes_bytes(void)
{
    return atomic_load_relaxed(&open_bytes);
}
