/* See growth.h. Everything here is under purge_lock(), which is tried. */
#include "libclient/growth.h"

#include "common/check.h"
#include "libclient/holes.h"
#include "libclient/lock.h"
#include "libclient/purge.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/span.h"
#include "libclient/spanpages.h"
#include "libclient/window.h"

#define STEP_BYTES ((uint64_t)2 << 20)
/* SuperSlabs to look at in one step: about as much work as to fill one. */
#define STEP_LOOKS 16u
/* Waste that is nobody's business: so much, and this share of what is held. */
#define WASTE_MIN_BYTES ((uint64_t)4 << 20)
#define WASTE_SHARE     4u

uint64_t growth_due_bytes = STEP_BYTES;
static uint64_t seen_closed_bytes;
static uint64_t mark_bytes;   /* what may be held */
static uint64_t purged_bytes; /* a figure */
static uint32_t cursor;       /* the SuperSlab to go on with */
static uint32_t n_fruitless;  /* looks since one that gave something */

static uint64_t held_bytes(void)
{
    uint64_t carved = runs_carved_bytes(), holes = holes_bytes();
    return carved > holes ? carved - holes : 0; /* read at different moments */
}

/* What is held for no block, beyond what is usual. */
static uint64_t excess_bytes(uint64_t held)
{
    uint64_t out = runs_large_bytes(), usual = held / WASTE_SHARE;
    if (settings.test_purge)
        return held;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        uint64_t n_spans, n_out;
        span_stats(class, &n_spans, &n_out);
        out += n_out * sizeclasses[class].block_bytes;
    }
    if (usual < WASTE_MIN_BYTES)
        usual = WASTE_MIN_BYTES;
    return held > out + usual ? held - out - usual : 0;
}

uint64_t growth_purged_bytes(void)
{
    return atomic_load_relaxed(&purged_bytes);
}

/* True: all have been looked at since the last one that gave something. */
static bool purge_some(uint64_t n_bytes)
{
    uint64_t begin = purge_counters().purged_bytes, before = begin;
    uint32_t n_carved = (uint32_t)(runs_carved_bytes() >> SUPERSLAB_SHIFT);
    for (uint32_t looks = 0; looks < STEP_LOOKS && before - begin < n_bytes; looks++) {
        if (!runs_next_carved(&cursor))
            return false;
        if (cursor == BITMAP_NONE) {
            cursor = 0;
            continue;
        }
        purge_slab(cursor++, PURGE_FOR_GROWTH);
        uint64_t now = purge_counters().purged_bytes;
        atomic_store_relaxed(&purged_bytes, purged_bytes + (now - before));
        n_fruitless = now > before ? 0 : n_fruitless + 1;
        before = now;
        if (n_fruitless > n_carved) {
            n_fruitless = 0;
            return true;
        }
    }
    return false;
}

static void step(void)
{
    uint64_t closed_bytes = holes_closed_bytes(), held = held_bytes();
    /* A hint to those who take blocks. */
    atomic_store_relaxed(&spanpages_age, (uint8_t)(spanpages_age + 1));
    mark_bytes += (closed_bytes - seen_closed_bytes) / 2;
    seen_closed_bytes = closed_bytes;
    if (held <= mark_bytes)
        return;
    uint64_t excess = excess_bytes(held), beyond = held - mark_bytes;
    if (excess == 0 || purge_some(beyond < excess ? beyond : excess))
        mark_bytes = held;
}

void growth_step(void)
{
    uint64_t grown_bytes = atomic_load_relaxed(&holes_grown_bytes);
    if (!lock_try_acquire(purge_lock()))
        return;
    if (grown_bytes >= growth_due_bytes) {
        uint64_t step_bytes = settings.test_purge ? UNIT_BYTES : STEP_BYTES;
        atomic_store_relaxed(&growth_due_bytes, grown_bytes + step_bytes);
        step();
    }
    lock_release(purge_lock());
}
