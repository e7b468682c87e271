/*
 * See source.h.
 *
 * Invariants, under `lock`: every index of an extent has the same extent_first, extent_slabs,
 * extent_id and generation; a leased SuperSlab of the link's present generation has a slot whose
 * word is IDLE, RECLAIMING or RECLAIMED if it is free, ACTIVE if not, PINNED if copied.
 */
#include "libclient/source.h"

#include "common/check.h"
#include "libclient/extentfile.h"
#include "libclient/extents.h"
#include "libclient/freeslabs.h"
#include "libclient/glue.h"
#include "libclient/link.h"
#include "libclient/lock.h"
#include "libclient/originals.h"
#include "libclient/probe.h"
#include "libclient/settings.h"
#include "libclient/window.h"

/* Private memory comes in growing steps too: fewer system calls, nothing touched ahead. */
#define PRIVATE_STEP_SLABS 16u
/* An empty private SuperSlab is purged when it was not wanted for this long. */
#define PRIVATE_IDLE_S 1u
/* How long prewarming waits for a reply that is under way, looking for it every millisecond. */
#define PREWARM_PATIENCE_MS 50u

static struct lock lock;
static bool link_is_set_up;
static struct source_stats stats;
static uint32_t last_aged_s;

struct lock *source_lock(void)
{
    return &lock;
}

static uint32_t now_s(void)
{
    return (uint32_t)(glue_now_ms() / 1000);
}

/* ---- leased memory ---- */

static size_t bytes_of(uint32_t n_slabs)
{
    return (size_t)n_slabs << SUPERSLAB_SHIFT;
}

static void count_leased(uint32_t n_slabs)
{
    stats.leased_bytes += bytes_of(n_slabs);
    if (stats.leased_bytes > stats.leased_peak_bytes)
        stats.leased_peak_bytes = stats.leased_bytes;
}

static void count_private(uint32_t n_slabs)
{
    atomic_store_relaxed(&stats.private_bytes, stats.private_bytes + bytes_of(n_slabs));
    if (stats.private_bytes > stats.private_peak_bytes)
        stats.private_peak_bytes = stats.private_bytes;
}

static uint32_t round_to_power_of_two(uint32_t n)
{
    return n <= 1 ? 1 : 1u << (32 - __builtin_clz(n - 1));
}

/* Below this many SuperSlabs a program is still starting, and leases half of what it has. */
#define STARTING_SLABS 16u

/* How much to lease when something is wanted: an eighth of what there is, so that the unused tail
 * stays small; more while that is little, so that a cold start is few leases. */
static uint32_t lease_step(void)
{
    uint32_t n = (uint32_t)(stats.leased_bytes >> SUPERSLAB_SHIFT);
    n = n < STARTING_SLABS ? n / 2 : n / 8;
    if (n < 2)
        return 2;
    return n > EXTENT_MAX_SLABS ? EXTENT_MAX_SLABS : 1u << (31 - __builtin_clz(n));
}

static void take_in(struct link_extent *arrived, size_t n_extents)
{
    for (size_t i = 0; i < n_extents; i++) {
        uint32_t first = extents_map(&arrived[i]);
        if (first == BITMAP_NONE)
            continue;
        count_leased(arrived[i].n_slabs);
        stats.leases++;
        PROBE3(lease, arrived[i].id, arrived[i].n_slabs, window_address(first));
        for (uint32_t k = first; k < first + arrived[i].n_slabs; k++)
            freeslabs_put_warm(k);
    }
}

static void collect(void)
{
    struct link_extent arrived[CONN_MAX_FDS];
    size_t n_extents;
    enum link_result result = link_collect(arrived, &n_extents);
    extents_sync();
    if (result == LINK_GRANTED)
        take_in(arrived, n_extents);
}

/* Gives up an extent that is free as a whole: its address space is free again. Its id joins
 * `returned` if the daemon of the present link is to be told. */
static void give_up_extent(uint32_t first, uint64_t *returned, size_t *n_returned)
{
    struct superslab *slab = window_slab(first);
    uint32_t n_slabs = slab->extent_slabs;
    uint64_t id = slab->extent_id;
    bool is_current = extents_is_current(first);

    for (uint32_t i = first; i < first + n_slabs; i++)
        freeslabs_remove(i);
    if (!extents_unmap(first)) {
        for (uint32_t i = first; i < first + n_slabs; i++)
            freeslabs_put_cold(i);
        return;
    }
    stats.leased_bytes -= bytes_of(n_slabs);
    if (is_current)
        returned[(*n_returned)++] = id;
}

#define RETURN_BATCH 64

/*
 * Returns extents that are free as a whole and worth nothing any more: all reclaimed, or copied at
 * a fork, or from a daemon that is gone. At most `n_wanted` SuperSlabs of reclaimed ones; the
 * others always.
 */
static size_t return_extents(uint32_t n_wanted)
{
    uint64_t returned[RETURN_BATCH];
    size_t n_returned = 0, n_bytes = 0;
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};

    for (unsigned part = 0; part < 2; part++) {
        for (uint32_t i = begins[part]; i < ends[part] && n_returned < RETURN_BATCH; i++) {
            struct superslab *slab = window_slab(i);
            if (!bitmap_test(freeslabs.cold, i) && !bitmap_test(freeslabs.warm, i))
                continue;
            if (slab->backing == SUPERSLAB_PRIVATE || slab->extent_first != i)
                continue;
            enum extents_worth worth = extents_worth(i);
            if (worth == EXTENTS_IN_USE || (worth == EXTENTS_RECLAIMED && n_wanted == 0))
                continue;
            uint32_t n_slabs = slab->extent_slabs;
            if (worth == EXTENTS_RECLAIMED)
                n_wanted -= n_slabs < n_wanted ? n_slabs : n_wanted;
            give_up_extent(i, returned, &n_returned);
            n_bytes += bytes_of(n_slabs);
        }
    }
    if (n_returned > 0) {
        link_return(returned, n_returned);
        extents_sync();
    }
    return n_bytes;
}

static bool may_ask(void)
{
    return settings.is_loaded && settings.connect != SETTINGS_CONNECT_OFF;
}

/* Asks the daemon. True: something has come in, look again. */
static bool lease(uint32_t n_slabs, bool wait)
{
    struct link_extent arrived[CONN_MAX_FDS];
    size_t n_extents;
    uint32_t run = round_to_power_of_two(n_slabs);
    uint32_t want = lease_step() > run ? lease_step() : run;

    if (!may_ask() || run > EXTENT_MAX_SLABS || !extentfile_may_hold_more())
        return false;
    if (!link_is_set_up) {
        link_init(settings.socket_path, true, settings.wait_us);
        link_is_set_up = true;
    }
    link_set_held_bytes(stats.leased_bytes);
    enum link_result result = link_lease(want, run, wait, arrived, &n_extents);
    extents_sync();
    if (result != LINK_GRANTED)
        return false;
    take_in(arrived, n_extents);
    /* Prewarmed memory has come: what the daemon reclaimed can go back instead of being faulted in
     * again. */
    if (freeslabs.n_warm_leased + freeslabs.n_cold > (int32_t)want)
        return_extents(want);
    return true;
}

/* Cold memory that nobody takes is address space and quota for nothing: past this, it goes before
 * new leases. */
static bool has_much_cold(void)
{
    int32_t n_leased = (int32_t)(stats.leased_bytes >> SUPERSLAB_SHIFT);
    return freeslabs.n_cold >= 8 && freeslabs.n_cold >= n_leased / 4;
}

/* When the last warm SuperSlab is gone, or nearly so where there are many. */
static bool look_ahead_is_due(void)
{
    int32_t low = (int32_t)(stats.leased_bytes >> SUPERSLAB_SHIFT) / 16;
    return stats.leased_bytes > 0 && freeslabs.n_warm_leased <= low && !link_is_pending() &&
           link_ledger() && link_pressure() == LEDGER_PRESSURE_NONE && !has_much_cold();
}

/* Asks ahead of need, without waiting. */
static void look_ahead(void)
{
    if (look_ahead_is_due())
        lease(1, false);
}

/* ---- private memory ---- */

/* Free address space of the window is an anonymous mapping already: it takes no new one, whatever
 * RLIMIT_AS says by now. */
static bool map_usable(uint32_t first, uint32_t n_slabs)
{
    if (!glue_make_usable(window_address(first), bytes_of(n_slabs)))
        return false;
    glue_huge_pages(window_address(first), bytes_of(n_slabs));
    return true;
}

/* Maps fresh private memory for `n_slabs`, and ahead for later ones where that costs nothing. */
static bool map_private(enum source_want want, uint32_t n_slabs, uint32_t align, uint32_t *first)
{
    uint32_t step = n_slabs;
    if (want == SOURCE_FOR_UNITS) {
        step = (uint32_t)(stats.private_bytes >> SUPERSLAB_SHIFT) / 4;
        step = step > PRIVATE_STEP_SLABS ? PRIVATE_STEP_SLABS : step < n_slabs ? n_slabs : step;
    }
    window_heed_limit();
    for (;;) {
        uint32_t at = window_take(step, align, want != SOURCE_FOR_UNITS);
        if (at != BITMAP_NONE) {
            if (map_usable(at, step)) {
                count_private(step);
                for (uint32_t i = at; i < at + step; i++) {
                    extents_set_private(i);
                    if (i >= at + n_slabs)
                        freeslabs_put_warm(i);
                }
                *first = at;
                return true;
            }
            window_drop(at, step);
        }
        if (step == n_slabs)
            return false;
        step = n_slabs;
    }
}

/* Purges private SuperSlabs that nobody wanted for a while, in runs. Bytes purged. */
static size_t purge_private(uint32_t idle_s, size_t keep_bytes)
{
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    uint32_t now = now_s();
    size_t n_purged = 0;

    for (unsigned part = 0; part < 2; part++) {
        uint32_t i = begins[part];
        while ((i = bitmap_next(freeslabs.warm, i, ends[part], true)) < ends[part]) {
            uint32_t end = i;
            while (end < ends[part] && bitmap_test(freeslabs.warm, end) &&
                   window_slab(end)->backing == SUPERSLAB_PRIVATE &&
                   now - window_slab(end)->idle_since_s >= idle_s)
                end++;
            if (end == i) {
                i++;
                continue;
            }
            if (freeslabs.n_warm_private <= (int32_t)(keep_bytes >> SUPERSLAB_SHIFT))
                return n_purged;
            if (glue_purge(window_address(i), bytes_of(end - i))) {
                for (uint32_t k = i; k < end; k++) {
                    freeslabs_remove(k);
                    window_slab(k)->zero = true;
                    freeslabs_put_cold(k);
                }
                n_purged += bytes_of(end - i);
            }
            i = end;
        }
    }
    return n_purged;
}

static bool age_is_due(void)
{
    return now_s() != last_aged_s;
}

/* At a slow path, at most once a second. */
static void age(void)
{
    if (!age_is_due())
        return;
    last_aged_s = now_s();
    /* Also when nothing is awaited: it tells whether the daemon is still there. */
    if (link_ledger())
        collect();
    if (freeslabs.n_warm_private > 0)
        purge_private(PRIVATE_IDLE_S, 0);
    if (stats.leased_bytes > 0)
        return_extents(link_pressure() != LEDGER_PRESSURE_NONE ? UINT32_MAX : 0);
    originals_give_back(ORIGINALS_AT_SLOW_PATH);
    /* A program that has had, or wanted, a daemon looks for the next one before it is in need. */
    if (!link_ledger() && !link_is_pending() && (stats.leases > 0 || stats.fallbacks > 0))
        lease(1, false);
}

/* ---- what others call ---- */

static bool acquire(enum source_want want, uint32_t n_slabs, uint32_t align, uint32_t *first,
                    bool *zero)
{
    if (link_is_pending())
        collect();
    if (want != SOURCE_FOR_GROWTH) {
        if (freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero))
            return true;
        if (has_much_cold() && freeslabs_take(FREESLABS_COLD, n_slabs, align, first, zero))
            return true;
        while (lease(n_slabs, true)) {
            if (freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero))
                return true;
            if (want != SOURCE_FOR_UNITS)
                break;
        }
        if (may_ask() && (want == SOURCE_FOR_UNITS || n_slabs <= EXTENT_MAX_SLABS)) {
            atomic_store_relaxed(&stats.fallbacks, stats.fallbacks + 1);
            PROBE2(fallback, n_slabs, stats.fallbacks);
        }
        if (freeslabs_take(FREESLABS_COLD, n_slabs, align, first, zero))
            return true;
    }
    /* Where an earlier block grew: what that one left lies in a row, with as much room behind. */
    if (want == SOURCE_FOR_GROWTH &&
        (freeslabs_take_apart(FREESLABS_WARM, n_slabs, align, first, zero) ||
         freeslabs_take_apart(FREESLABS_COLD, n_slabs, align, first, zero)))
        return true;
    if (map_private(want, n_slabs, align, first)) {
        *zero = true;
        return true;
    }
    /* Last resort for growth too: whatever is free. */
    return freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero) ||
           freeslabs_take(FREESLABS_COLD, n_slabs, align, first, zero);
}

/*
 * Signals wait while SuperSlabs are mapped, unmapped or leased: a handler that forks must not
 * convert what is half made. To take a warm one and to release one is safe at every step, and goes
 * without these two system calls.
 */
bool source_acquire(enum source_want want, uint32_t n_slabs, uint32_t align, uint32_t *first,
                    bool *zero)
{
    sigset_t signals;
    lock_acquire(&lock);
    bool ok = want != SOURCE_FOR_GROWTH && !link_is_pending() && !age_is_due() &&
              freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero);
    bool must_look_ahead = look_ahead_is_due();
    if (!ok || must_look_ahead) {
        glue_block_signals(&signals);
        ok = ok || acquire(want, n_slabs, align, first, zero);
        if (ok)
            look_ahead();
        age();
        glue_restore_signals(&signals);
    }
    for (uint32_t i = 0; ok && i < n_slabs; i++)
        window_slab(*first + i)->zero = false;
    lock_release(&lock);
    return ok;
}

void source_release(uint32_t first, uint32_t n_slabs)
{
    sigset_t signals;
    lock_acquire(&lock);
    uint32_t now = now_s();
    for (uint32_t i = first; i < first + n_slabs; i++) {
        struct superslab *slab = window_slab(i);
        slab->zero = false;
        slab->idle_since_s = now;
        freeslabs_put_warm(i);
        extents_deactivate(i);
    }
    if (link_is_pending() || age_is_due()) {
        glue_block_signals(&signals);
        if (link_is_pending())
            collect();
        age();
        glue_restore_signals(&signals);
    }
    lock_release(&lock);
}

/* Free private memory behind a block, as far as it goes, and fresh memory behind that. */
static bool extend(uint32_t at, uint32_t n_slabs)
{
    uint32_t n_free = freeslabs_count_private(at, n_slabs);
    uint32_t fresh = at + n_free, n_fresh = n_slabs - n_free;
    if (n_fresh > 0) {
        if (!window_take_at(fresh, n_fresh))
            return false;
        if (!map_usable(fresh, n_fresh)) {
            window_drop(fresh, n_fresh);
            return false;
        }
        count_private(n_fresh);
        for (uint32_t i = fresh; i < fresh + n_fresh; i++)
            extents_set_private(i);
    }
    freeslabs_take_private(at, n_free);
    return true;
}

bool source_extend(uint32_t first, uint32_t n_old, uint32_t n_new)
{
    sigset_t signals;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    bool extended = extend(first + n_old, n_new - n_old);
    glue_restore_signals(&signals);
    lock_release(&lock);
    return extended;
}

bool source_move(uint32_t first, uint32_t n_old, uint32_t n_new, uint32_t *first_new)
{
    sigset_t signals;
    bool moved = false;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    for (uint32_t i = first; i < first + n_old; i++) {
        if (window_slab(i)->backing != SUPERSLAB_PRIVATE)
            goto out;
    }
    uint32_t at;
    if (!map_private(SOURCE_FOR_GROWTH, n_new, 1, &at))
        goto out;
    moved = glue_move(window_address(first), window_address(at), bytes_of(n_old));
    if (moved) {
        *first_new = at;
        /* The old place reads as zero now and costs nothing. */
        for (uint32_t i = first; i < first + n_old; i++) {
            window_slab(i)->zero = true;
            freeslabs_put_cold(i);
        }
    } else {
        for (uint32_t i = at; i < at + n_new; i++) {
            window_slab(i)->zero = true;
            freeslabs_put_cold(i);
        }
    }
out:
    glue_restore_signals(&signals);
    lock_release(&lock);
    return moved;
}

static uint32_t warm_missing(uint32_t n_slabs)
{
    int32_t n_warm = freeslabs.n_warm_leased + freeslabs.n_warm_private;
    return n_warm < (int32_t)n_slabs ? n_slabs - (uint32_t)n_warm : 0;
}

/* Leases until there are so many warm SuperSlabs. False: no more is to be had now. */
static bool prewarm_leased(uint32_t n_slabs)
{
    uint32_t missing;
    while ((missing = warm_missing(n_slabs)) > 0) {
        uint32_t chunk = missing > EXTENT_MAX_SLABS ? EXTENT_MAX_SLABS : missing;
        if (!lease(1u << (31 - __builtin_clz(chunk)), true))
            return false;
    }
    return true;
}

/* The same from private memory, whose pages are brought in here: that is what is asked for. */
static bool prewarm_private(uint32_t n_slabs)
{
    uint32_t missing;
    while ((missing = warm_missing(n_slabs)) > 0) {
        uint32_t first, chunk = missing > EXTENT_MAX_SLABS ? EXTENT_MAX_SLABS : missing;
        if (!map_private(SOURCE_FOR_UNITS, chunk, 1, &first))
            return false;
        glue_populate(window_address(first), bytes_of(chunk));
        for (uint32_t i = first; i < first + chunk; i++)
            freeslabs_put_warm(i);
    }
    return true;
}

bool source_prewarm(uint32_t n_slabs)
{
    sigset_t signals;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    bool ok = prewarm_leased(n_slabs);
    /* No allocation is held up here, and what came late would be taken in by one that is. */
    for (unsigned ms = 0; !ok && link_is_pending() && ms < PREWARM_PATIENCE_MS; ms++) {
        glue_restore_signals(&signals);
        lock_release(&lock);
        glue_pause_us(1000);
        lock_acquire(&lock);
        glue_block_signals(&signals);
        ok = prewarm_leased(n_slabs);
    }
    ok = ok || prewarm_private(n_slabs);
    age();
    glue_restore_signals(&signals);
    lock_release(&lock);
    return ok;
}

size_t source_trim(size_t keep_bytes)
{
    sigset_t signals;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    collect();
    size_t n_bytes = purge_private(0, keep_bytes) + return_extents(UINT32_MAX);
    uint64_t before = originals_counters()->given_back_bytes;
    originals_give_back(ORIGINALS_NOW);
    n_bytes += originals_counters()->given_back_bytes - before;
    glue_restore_signals(&signals);
    lock_release(&lock);
    return n_bytes;
}

void source_stats(struct source_stats *out)
{
    lock_acquire(&lock);
    *out = stats;
    out->free_bytes =
        bytes_of((uint32_t)(freeslabs.n_warm_leased + freeslabs.n_warm_private + freeslabs.n_cold));
    lock_release(&lock);
}

uint64_t source_private_bytes(void)
{
    return atomic_load_relaxed(&stats.private_bytes); /* a figure */
}

uint64_t source_n_fallbacks(void)
{
    return atomic_load_relaxed(&stats.fallbacks); /* a figure */
}

bool source_init(void)
{
    /* Mostly untouched in small programs: a huge page would be all theirs. */
    if (!window_take_at(0, 1) || !glue_make_usable(window_address(0), SUPERSLAB_BYTES))
        return false;
    glue_no_huge_pages(window_address(0), SUPERSLAB_BYTES);
    extents_set_private(0);
    freeslabs_put_warm(0);
    count_private(1);
    return true;
}

/* ---- fork ---- */

void source_fork_convert(bool is_interrupted)
{
    /* First of all: an extent that came in after the walk would stay shared with the child. */
    if (link_is_pending())
        collect();
    if (!is_interrupted)
        originals_give_back(ORIGINALS_AT_SLOW_PATH);
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    for (unsigned part = 0; part < 2; part++) {
        for (uint32_t i = begins[part]; i < ends[part];) {
            if (window_slab(i)->backing != SUPERSLAB_LEASED) {
                i++;
                continue;
            }
            /* Counted by backing, which changes. */
            uint32_t end = i + extents_convert(i);
            for (; i < end; i++) {
                if (bitmap_test(freeslabs.warm, i)) {
                    freeslabs.n_warm_leased--;
                    freeslabs.n_warm_private++;
                }
            }
        }
    }
}

void source_fork_child(void)
{
    extents_forget_link();
    link_after_fork_child();
    stats.leases = 0;
    stats.fallbacks = 0;
}
