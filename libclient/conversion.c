/* See conversion.h. */
#include "libclient/conversion.h"

#include <stdint.h>

#include "libclient/bitmap.h"
#include "libclient/extents.h"
#include "libclient/freeslabs.h"
#include "libclient/leases.h"
#include "libclient/link.h"
#include "libclient/originals.h"
#include "libclient/source.h"
#include "libclient/window.h"

/* One that became private. */
static void count_as_private(uint32_t index)
{
    if (bitmap_test(freeslabs.warm, index) && window_slab(index)->backing != SUPERSLAB_LEASED) {
        freeslabs.n_warm_leased--;
        freeslabs.n_warm_private++;
    }
}

void conversion_at_fork(bool is_interrupted)
{
    /* Not beneath code that may be in the midst of a change to what is free: what has come is taken
     * in after the fork. */
    if (!is_interrupted) {
        /* First of all: an extent that came in after the walk would stay shared with the child. */
        if (link_is_pending())
            leases_collect();
        originals_give_back(ORIGINALS_AT_FORK);
    }
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    for (unsigned part = 0; part < 2; part++) {
        for (uint32_t i = begins[part]; i < ends[part];) {
            if (window_slab(i)->backing != SUPERSLAB_LEASED) {
                i++;
                continue;
            }
            /* Counted by backing, which changes. */
            uint32_t end = i + extents_convert(i);
            for (; i < end; i++)
                count_as_private(i);
        }
    }
}

/* What could not be made a copy. */
static void withhold(uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        if (window_slab(i)->backing != SUPERSLAB_LEASED)
            continue;
        extents_withhold(i);
        count_as_private(i);
    }
}

void conversion_in_child(void)
{
    withhold(0, window.high_low);
    withhold(window.n_apart, window.high_apart);
    /* Shells fork all the time and have no daemon: what need not be written to stays shared. */
    if (!link_is_untouched()) {
        extents_forget_link();
        link_after_fork_child();
        leases.count = 0;
    }
    source_forget_fallbacks();
}
