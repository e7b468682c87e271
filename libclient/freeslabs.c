/* See freeslabs.h. */
#include "libclient/freeslabs.h"

#include "libclient/extents.h"
#include "libclient/tables.h"

TABLE_LARGE struct freeslabs freeslabs;

void freeslabs_put_warm(uint32_t index)
{
    struct superslab *slab = window_slab(index);
    window_set_kind(slab, SUPERSLAB_FREE);
    bitmap_set(freeslabs.warm, index);
    if (!slab->zero)
        bitmap_set(freeslabs.used, index);
    if (slab->backing == SUPERSLAB_LEASED)
        freeslabs.n_warm_leased++;
    else
        freeslabs.n_warm_private++;
}

static void remove_warm(uint32_t index)
{
    bitmap_clear(freeslabs.warm, index);
    bitmap_clear(freeslabs.used, index);
    if (window_slab(index)->backing == SUPERSLAB_LEASED)
        freeslabs.n_warm_leased--;
    else
        freeslabs.n_warm_private--;
}

void freeslabs_put_cold(uint32_t index)
{
    window_set_kind(window_slab(index), SUPERSLAB_FREE);
    bitmap_set(freeslabs.cold, index);
    freeslabs.n_cold++;
}

void freeslabs_put_sparse(uint32_t index)
{
    window_set_kind(window_slab(index), SUPERSLAB_FREE);
    bitmap_set(freeslabs.sparse, index);
    freeslabs.n_sparse++;
}

int32_t freeslabs_count(void)
{
    return freeslabs.n_warm_leased + freeslabs.n_warm_private + freeslabs.n_cold +
           freeslabs.n_sparse;
}

void freeslabs_remove(uint32_t index)
{
    if (bitmap_test(freeslabs.warm, index)) {
        remove_warm(index);
    } else if (bitmap_test(freeslabs.cold, index)) {
        bitmap_clear(freeslabs.cold, index);
        freeslabs.n_cold--;
    } else if (bitmap_test(freeslabs.sparse, index)) {
        bitmap_clear(freeslabs.sparse, index);
        freeslabs.n_sparse--;
    }
}

static uint64_t *set_of(enum freeslabs_set which)
{
    return which == FREESLABS_WARM   ? freeslabs.warm
           : which == FREESLABS_USED ? freeslabs.used
           : which == FREESLABS_COLD ? freeslabs.cold
                                     : freeslabs.sparse;
}

static bool is_free(uint32_t index)
{
    return bitmap_test(freeslabs.warm, index) || bitmap_test(freeslabs.cold, index) ||
           bitmap_test(freeslabs.sparse, index);
}

/* As freeslabs_take(), from index `begin` on. */
static bool take_from(enum freeslabs_set which, uint32_t begin, uint32_t n_slabs, uint32_t align,
                      uint32_t *first, bool *zero)
{
    uint64_t *set = set_of(which);
    while ((which == FREESLABS_SPARSE ? freeslabs.n_sparse : freeslabs_count()) >=
           (int32_t)n_slabs) {
        uint32_t at = bitmap_find_tight_run(set, begin, window.high_low, n_slabs, align, true);
        if (at == BITMAP_NONE) {
            uint32_t from = begin > window.n_apart ? begin : window.n_apart;
            at = bitmap_find_tight_run(set, from, window.high_apart, n_slabs, align, true);
        }
        if (at == BITMAP_NONE)
            return false;
        uint32_t n_taken = 0;
        enum extents_taken taken = EXTENTS_TAKEN_WARM;
        bool all_zero = true;
        while (n_taken < n_slabs) {
            taken = extents_activate(at + n_taken, which == FREESLABS_COLD);
            if (taken == EXTENTS_GONE || taken == EXTENTS_BUSY)
                break;
            all_zero = all_zero && window_slab(at + n_taken)->zero;
            n_taken++;
        }
        if (n_taken == n_slabs) {
            for (uint32_t i = at; i < at + n_slabs; i++) {
                freeslabs_remove(i);
                window_set_kind(window_slab(i), SUPERSLAB_NONE);
                window_slab(i)->is_kept = false;
                /* Its pages went since: what was in them tells nothing. */
                if (window_slab(i)->zero)
                    window_slab(i)->zeroed_units = 0;
            }
            *first = at;
            *zero = all_zero;
            return true;
        }
        for (uint32_t i = at; i < at + n_taken; i++) {
            if (!window_slab(i)->is_kept)
                extents_deactivate(i);
        }
        if (which == FREESLABS_WARM || which == FREESLABS_USED) {
            remove_warm(at + n_taken);
            freeslabs_put_cold(at + n_taken);
        } else {
            begin = at + n_taken + 1;
        }
    }
    return false;
}

bool freeslabs_take(enum freeslabs_set which, uint32_t n_slabs, uint32_t align, uint32_t *first,
                    bool *zero)
{
    return take_from(which, 0, n_slabs, align, first, zero);
}

bool freeslabs_take_apart(enum freeslabs_set which, uint32_t n_slabs, uint32_t align,
                          uint32_t *first, bool *zero)
{
    return take_from(which, window.n_apart, n_slabs, align, first, zero);
}

uint32_t freeslabs_count_private(uint32_t first, uint32_t n_slabs)
{
    uint32_t n = 0;
    while (n < n_slabs && first + n < window.n_slabs && is_free(first + n) &&
           window_slab(first + n)->backing == SUPERSLAB_PRIVATE)
        n++;
    return n;
}

void freeslabs_take_private(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first; i < first + n_slabs; i++) {
        freeslabs_remove(i);
        window_set_kind(window_slab(i), SUPERSLAB_NONE);
        window_slab(i)->zero = false;
        window_slab(i)->is_kept = false;
    }
}
