/* See freeslabs.h. */
#include "libclient/freeslabs.h"

#include "libclient/extents.h"
#include "libclient/tables.h"

TABLE_LARGE struct freeslabs freeslabs;

static uint64_t *set_of(enum freeslabs_set which)
{
    return which == FREESLABS_WARM   ? freeslabs.warm
           : which == FREESLABS_USED ? freeslabs.used
           : which == FREESLABS_COLD ? freeslabs.cold
                                     : freeslabs.sparse;
}

/* So many have come into a set, or, below 0, gone from it. */
static void count(enum freeslabs_set which, int32_t n_leased, int32_t n_others)
{
    if (which == FREESLABS_COLD) {
        freeslabs.n_cold += n_leased + n_others;
    } else if (which == FREESLABS_SPARSE) {
        freeslabs.n_sparse += n_leased + n_others;
    } else {
        freeslabs.n_warm_leased += n_leased;
        freeslabs.n_warm_private += n_others;
    }
}

static int32_t is_leased(const struct superslab *slab)
{
    return slab->backing == SUPERSLAB_LEASED;
}

static void put(enum freeslabs_set which, uint32_t index)
{
    struct superslab *slab = window_slab(index);
    window_set_kind(slab, SUPERSLAB_FREE);
    bitmap_set(set_of(which), index);
    count(which, is_leased(slab), !is_leased(slab));
}

void freeslabs_put_warm(uint32_t index)
{
    put(FREESLABS_WARM, index);
    if (!window_slab(index)->zero)
        bitmap_set(freeslabs.used, index);
}

void freeslabs_put_used(uint32_t first, uint32_t n_slabs, uint32_t now_s)
{
    int32_t n_leased = 0;
    struct superslab *slab = window_slab(first);
    for (struct superslab *end = slab + n_slabs; slab < end; slab++) {
        slab->zero = false;
        slab->idle_since_s = now_s;
        window_set_kind(slab, SUPERSLAB_FREE);
        n_leased += is_leased(slab);
    }
    bitmap_set_run(freeslabs.warm, first, n_slabs);
    bitmap_set_run(freeslabs.used, first, n_slabs);
    count(FREESLABS_WARM, n_leased, (int32_t)n_slabs - n_leased);
}

void freeslabs_put_cold(uint32_t index)
{
    put(FREESLABS_COLD, index);
}

void freeslabs_put_sparse(uint32_t index)
{
    put(FREESLABS_SPARSE, index);
}

int32_t freeslabs_count(void)
{
    return freeslabs.n_warm_leased + freeslabs.n_warm_private + freeslabs.n_cold +
           freeslabs.n_sparse;
}

static void clear(enum freeslabs_set which, uint32_t first, uint32_t n_slabs)
{
    bitmap_clear_run(set_of(which), first, n_slabs);
    if (which == FREESLABS_WARM)
        bitmap_clear_run(freeslabs.used, first, n_slabs);
    else if (which == FREESLABS_USED)
        bitmap_clear_run(freeslabs.warm, first, n_slabs);
}

void freeslabs_remove(uint32_t index)
{
    for (enum freeslabs_set which = FREESLABS_WARM; which <= FREESLABS_SPARSE; which++) {
        if (bitmap_test(set_of(which), index)) {
            int32_t n_leased = is_leased(window_slab(index));
            clear(which, index, 1);
            count(which, -n_leased, n_leased - 1);
            return;
        }
    }
}

static bool is_free(uint32_t index)
{
    return bitmap_test(freeslabs.warm, index) || bitmap_test(freeslabs.cold, index) ||
           bitmap_test(freeslabs.sparse, index);
}

/* Out of that set, in which all of them are, for whoever asked. True: they read as zero. */
static bool hand_out(enum freeslabs_set which, uint32_t first, uint32_t n_slabs)
{
    int32_t n_leased = 0;
    bool all_zero = true;
    clear(which, first, n_slabs);
    struct superslab *slab = window_slab(first);
    for (struct superslab *end = slab + n_slabs; slab < end; slab++) {
        window_set_kind(slab, SUPERSLAB_NONE);
        slab->is_kept = false;
        n_leased += is_leased(slab);
        /* Its pages went since: what was in them tells nothing. */
        if (slab->zero)
            slab->zeroed_units = 0;
        else
            all_zero = false;
    }
    count(which, -n_leased, n_leased - (int32_t)n_slabs);
    return all_zero;
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
        uint32_t n_taken = extents_activate(at, n_slabs, which == FREESLABS_COLD);
        if (n_taken == n_slabs) {
            *zero = hand_out(which, at, n_slabs);
            *first = at;
            return true;
        }
        for (uint32_t i = at; i < at + n_taken; i++) {
            if (!window_slab(i)->is_kept)
                extents_deactivate(i, 1);
        }
        if (which == FREESLABS_WARM || which == FREESLABS_USED) {
            freeslabs_remove(at + n_taken);
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
