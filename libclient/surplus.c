/*
 * See surplus.h.
 *
 * How many of the warm ones are private and used is counted when it matters, not at each step:
 * what is warm otherwise (mapped ahead and untouched, copied at a fork) is in the way of that
 * only where it is much.
 */
#include "libclient/surplus.h"

#include "libclient/freeslabs.h"
#include "libclient/leases.h"
#include "libclient/private.h"
#include "libclient/settings.h"
#include "libclient/tables.h"
#include "libclient/window.h"

/* What may be free in any program: so much; four times the largest block of several that it freed,
 * of which the next may be as large (glibc trims beyond twice that); and a share of what is in use.
 */
#define FREE_MIN_SLABS    4u
#define LARGEST_TIMES     4u
#define LARGEST_MAX_SLABS 8u
#define FREE_SHARE        8u
/* A step goes half of the limit below it, but not further than so, and begins such a share of the
 * limit above it, or so far: in proportion, lest it be many; bounded, as others may wait for the
 * lock meanwhile. */
#define STEP_MAX_SLABS 32u
#define LATE_SHARE     8u
/* What went is not soon wanted after so many seconds of the clock. */
#define SOON_S 1u
/* The part of the limit that was not needed in a second comes down by such a share, and what is
 * said of the largest block. */
#define DECAY_SHARE 8u

/* Went as surplus, still free, and not long ago. */
static TABLE_LARGE uint64_t gone[BITMAP_WORDS(WINDOW_MAX_SLABS)];
static uint32_t n_gone;
static uint32_t n_regretted; /* of those: taken again soon, as far as it counts still */
static uint32_t n_released;  /* since the last count */
static uint32_t n_patience;  /* of these, until the next one */
static uint32_t n_most_warm; /* since surplus_age() */
static uint32_t n_largest;   /* released at once, if several; comes down, too */
static uint32_t last_aged_s;

static uint32_t n_in_use(void)
{
    int64_t n = (int64_t)((leases.bytes + private_memory.bytes) >> SUPERSLAB_SHIFT);
    n -= freeslabs_count();
    return n > 0 ? (uint32_t)n : 0;
}

static uint32_t n_usual(void)
{
    uint32_t n = n_largest < LARGEST_MAX_SLABS ? n_largest : LARGEST_MAX_SLABS;
    return FREE_MIN_SLABS + LARGEST_TIMES * n;
}

uint32_t surplus_limit(void)
{
    return settings.test_purge ? 0 : n_usual() + n_in_use() / FREE_SHARE + n_regretted;
}

uint32_t surplus_regretted(void)
{
    return n_regretted;
}

static uint32_t at_most_a_step(uint32_t n)
{
    return n < STEP_MAX_SLABS ? n : STEP_MAX_SLABS;
}

/* Until so many more are free; less what the limit may have come down by meanwhile. */
static void be_patient(uint32_t n_slabs)
{
    n_released = 0;
    n_patience = n_slabs - n_slabs / FREE_SHARE;
}

static uint32_t n_warm(void)
{
    return freeslabs.n_warm_private > 0 ? (uint32_t)freeslabs.n_warm_private : 0;
}

static __attribute__((noinline)) bool may_be_surplus(void)
{
    uint32_t limit = surplus_limit();
    if (n_warm() > limit)
        return true;
    be_patient(limit - n_warm());
    return false;
}

bool surplus_note_released(uint32_t n_slabs)
{
    if (n_warm() > n_most_warm)
        n_most_warm = n_warm();
    if (n_slabs > 1 && n_slabs > n_largest)
        n_largest = n_slabs;
    n_released += n_slabs;
    return n_released > n_patience && may_be_surplus();
}

/* Twice: it was a part of what will be free, and the next time it is not exactly as much. But more
 * than all that there is was never free. */
static void regret(uint32_t n_slabs)
{
    uint32_t n_most = (uint32_t)(private_memory.bytes >> SUPERSLAB_SHIFT);
    n_regretted += 2 * n_slabs;
    if (n_regretted > n_most)
        n_regretted = n_most;
}

/* Of what has gone some has been taken since; and what has been free for long was none of theirs.
 */
static void look_at_gone(uint32_t now_s, bool counts)
{
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    uint32_t n_again = 0;
    for (unsigned part = 0; part < 2 && n_gone > 0; part++) {
        uint32_t i = begins[part];
        for (; (i = bitmap_next(gone, i, ends[part], true)) < ends[part]; i++) {
            bool is_taken = !bitmap_test(freeslabs.cold, i);
            if (!is_taken && now_s - window_slab(i)->idle_since_s <= SOON_S)
                continue;
            bitmap_clear(gone, i);
            n_gone--;
            n_again += is_taken && counts;
        }
    }
    regret(n_again);
}

void surplus_purge(void)
{
    look_at_gone(last_aged_s, true);
    uint32_t limit = surplus_limit(), n_used = private_count_used();
    if (n_used > limit) {
        uint32_t n_purged = private_purge_beyond(limit - at_most_a_step(limit / 2), gone);
        n_gone += n_purged;
        n_used -= n_purged;
    }
    uint32_t n_late = at_most_a_step(limit / LATE_SHARE);
    be_patient(n_used + n_late < limit ? limit - n_used : n_late);
}

/* Some, if there is any. */
static uint32_t share_of(uint32_t n)
{
    return (n + DECAY_SHARE - 1) / DECAY_SHARE;
}

void surplus_age(uint32_t now_s)
{
    /* Who slept takes what went long ago, and is looked at right after. */
    look_at_gone(now_s, now_s - last_aged_s <= SOON_S);
    last_aged_s = now_s;
    uint32_t limit = surplus_limit();
    if (n_most_warm < limit) {
        uint32_t n_less = share_of(limit - n_most_warm);
        n_regretted -= n_less < n_regretted ? n_less : n_regretted;
    }
    n_most_warm = 0;
    n_largest -= share_of(n_largest);
}
