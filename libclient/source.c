/*
 * See source.h.
 *
 * Invariants, under `lock`: every index of an extent has the same extent_first, extent_slabs,
 * extent_id and generation; a leased SuperSlab of the link's present generation has a slot whose
 * word is IDLE, RECLAIMING or RECLAIMED if it is free (ACTIVE if it is kept), ACTIVE if not, PINNED
 * if copied.
 */
#include "libclient/source.h"

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/extents.h"
#include "libclient/freeslabs.h"
#include "libclient/glue.h"
#include "libclient/leases.h"
#include "libclient/link.h"
#include "libclient/lock.h"
#include "libclient/originals.h"
#include "libclient/private.h"
#include "libclient/probe.h"
#include "libclient/settings.h"
#include "libclient/surplus.h"
#include "libclient/window.h"

/* An empty private SuperSlab is purged when it was not wanted for this long. */
#define PRIVATE_IDLE_S 1u
/* The SuperSlab of source_init(): its small pages come in bit by bit, it is not prewarmed. */
#define FIRST_INDEX 0u
/* How long prewarming waits for a reply that is under way, looking for it every millisecond. */
#define PREWARM_PATIENCE_MS 50u
#define PREWARM_MORE        4u

static struct lock lock;
static uint64_t n_fallbacks;
static uint32_t last_aged_s;
static uint8_t has_warm_private; /* for source_tick(): perhaps */
static uint32_t kept_until_s;    /* 0: nothing is kept warm */

struct lock *source_lock(void)
{
    return &lock;
}

static bool age_is_due_at(uint32_t now_s)
{
    /* Relaxed: without the lock it is a hint. */
    return now_s != atomic_load_relaxed(&last_aged_s);
}

static bool age_is_due(void)
{
    return age_is_due_at(glue_now_s());
}

/* The first warm SuperSlab from `from` on, in either part of the window, or BITMAP_NONE. */
static uint32_t next_warm(uint32_t from)
{
    uint32_t i = bitmap_next(freeslabs.warm, from, window.high_low, true);
    if (i < window.high_low)
        return i;
    i = bitmap_next(freeslabs.warm, from > window.n_apart ? from : window.n_apart,
                    window.high_apart, true);
    return i < window.high_apart ? i : BITMAP_NONE;
}

/* What was prewarmed is as any free memory from here on. */
static void let_go(void)
{
    uint32_t now = glue_now_s();
    atomic_store_relaxed(&kept_until_s, 0);
    for (uint32_t i = 0; (i = next_warm(i)) != BITMAP_NONE; i++) {
        struct superslab *slab = window_slab(i);
        if (!slab->is_kept)
            continue;
        slab->is_kept = false;
        slab->idle_since_s = now;
        extents_deactivate(i, 1);
    }
}

static bool must_let_go(void)
{
    return kept_until_s != 0 &&
           ((int32_t)(glue_now_s() - kept_until_s) >= 0 || link_pressure() != LEDGER_PRESSURE_NONE);
}

/* At a slow path, at most once a second. */
static void age(void)
{
    if (!age_is_due())
        return;
    atomic_store_relaxed(&last_aged_s, glue_now_s());
    /* Also when nothing is awaited: it tells whether the daemon is still there. */
    if (link_ledger())
        leases_collect();
    if (must_let_go())
        let_go();
    surplus_age(last_aged_s);
    if (freeslabs.n_warm_private > 0)
        private_purge(PRIVATE_IDLE_S, 0);
    atomic_store_relaxed(&has_warm_private, freeslabs.n_warm_private > 0);
    if (leases.bytes > 0)
        leases_return(link_pressure() != LEDGER_PRESSURE_NONE ? UINT32_MAX : 0);
    originals_give_back(ORIGINALS_AT_SLOW_PATH);
    /* A program that has had, or wanted, a daemon looks for the next one before it is in need. */
    if (!link_ledger() && !link_is_pending() && (leases.count > 0 || n_fallbacks > 0))
        leases_ask(1, false);
}

/* ---- what others call ---- */

static void count_fallback(uint32_t n_slabs)
{
    atomic_store_relaxed(&n_fallbacks, n_fallbacks + 1);
    PROBE2(fallback, n_slabs, n_fallbacks);
}

/* Free ones are used again before there is more address space of them. */
static bool acquire_sparse(uint32_t n_slabs, uint32_t align, uint32_t *first, bool *zero)
{
    if (freeslabs_take(FREESLABS_SPARSE, n_slabs, align, first, zero))
        return true;
    if (!private_map(PRIVATE_SPARSE, n_slabs, align, first))
        return false;
    *zero = true;
    return true;
}

/* They become as any other private ones: for what is not sparse. */
static bool acquire_former_sparse(uint32_t n_slabs, uint32_t align, uint32_t *first, bool *zero)
{
    bool ok = freeslabs_take(FREESLABS_SPARSE, n_slabs, align, first, zero);
    if (ok)
        private_make_dense(*first, n_slabs);
    return ok;
}

/* Of units rather one that the program has touched before: it is there anyway, and another would
 * come on top of it. More than one in a row: source_acquire() purges others in their place. */
static bool take_warm(enum source_want want, uint32_t n_slabs, uint32_t align, uint32_t *first,
                      bool *zero)
{
    return (want == SOURCE_FOR_UNITS &&
            freeslabs_take(FREESLABS_USED, n_slabs, align, first, zero)) ||
           freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero);
}

static bool acquire(enum source_want want, uint32_t n_slabs, uint32_t align, uint32_t *first,
                    bool *zero)
{
    if (link_is_pending())
        leases_collect();
    if (want == SOURCE_FOR_SPARSE && acquire_sparse(n_slabs, align, first, zero))
        return true;
    if (want != SOURCE_FOR_GROWTH) {
        if (take_warm(want, n_slabs, align, first, zero))
            return true;
        if (leases_have_much_cold() && freeslabs_take(FREESLABS_COLD, n_slabs, align, first, zero))
            return true;
        /* What was asked ahead is answered first, and may be too short. */
        bool is_first = link_is_pending();
        if (!is_first && leases_ask_in_pieces(n_slabs) &&
            freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero))
            return true;
        while (leases_ask(n_slabs, true)) {
            if (freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero))
                return true;
            if (want != SOURCE_FOR_UNITS && !is_first)
                break;
            is_first = false;
        }
        if (leases_may_ask() && (want == SOURCE_FOR_UNITS || n_slabs <= EXTENT_MAX_SLABS)) {
            count_fallback(n_slabs);
        }
        if (freeslabs_take(FREESLABS_COLD, n_slabs, align, first, zero) ||
            acquire_former_sparse(n_slabs, align, first, zero))
            return true;
    }
    /* Where an earlier block grew: what that one left lies in a row, with as much room behind. */
    if (want == SOURCE_FOR_GROWTH &&
        (freeslabs_take_apart(FREESLABS_WARM, n_slabs, align, first, zero) ||
         freeslabs_take_apart(FREESLABS_COLD, n_slabs, align, first, zero)))
        return true;
    if (private_map(want == SOURCE_FOR_UNITS ? PRIVATE_AMONG_OTHERS : PRIVATE_APART, n_slabs, align,
                    first)) {
        *zero = true;
        return true;
    }
    /* Last resort for growth too: whatever is free. */
    return freeslabs_take(FREESLABS_WARM, n_slabs, align, first, zero) ||
           freeslabs_take(FREESLABS_COLD, n_slabs, align, first, zero) ||
           acquire_former_sparse(n_slabs, align, first, zero);
}

/* Its first page, which is all of it where pages are of 2 MiB, comes in with a system call: a fault
 * would take longer. */
static void bring_in_untouched(uint32_t index)
{
    struct superslab *slab = window_slab(index);
    if (slab->is_untouched)
        glue_populate_pages(window_address(index), 1);
    slab->is_untouched = false;
}

/* They are in use from here on. One alone would have been one of those that are warm. */
static void begin_use(uint32_t first, uint32_t n_slabs)
{
    sigset_t signals;
    uint32_t n_new = 0;
    struct superslab *slab = window_slab(first);
    for (struct superslab *end = slab + n_slabs; slab < end; slab++) {
        n_new += slab->zero && slab->is_untouched;
        slab->zero = slab->is_untouched = false;
    }
    if (n_slabs == 1 || n_new == 0 || freeslabs.n_warm_private <= 0)
        return;
    glue_block_signals(&signals);
    private_make_room(n_new);
    glue_restore_signals(&signals);
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
    bool ok =
        want != SOURCE_FOR_GROWTH && !link_is_pending() && !age_is_due() &&
        (want == SOURCE_FOR_SPARSE ? freeslabs_take(FREESLABS_SPARSE, n_slabs, align, first, zero)
                                   : take_warm(want, n_slabs, align, first, zero));
    bool must_look_ahead = leases_look_ahead_is_due();
    if (!ok || must_look_ahead) {
        glue_block_signals(&signals);
        ok = ok || acquire(want, n_slabs, align, first, zero);
        if (ok)
            leases_look_ahead();
        age();
        glue_restore_signals(&signals);
    }
    if (ok && want == SOURCE_FOR_UNITS)
        bring_in_untouched(*first); /* the caller is about to carve it */
    if (ok)
        begin_use(*first, n_slabs);
    lock_release(&lock);
    return ok;
}

static bool take_few(bool unshared, uint32_t *index, bool *zero)
{
    return unshared ? freeslabs_take(FREESLABS_USED, 1, 1, index, zero)
                    : take_warm(SOURCE_FOR_UNITS, 1, 1, index, zero);
}

/* Under the lock, signals blocked. */
static bool acquire_few(bool unshared, uint32_t *index, bool *zero, bool *is_small)
{
    *is_small = false;
    if (link_is_pending())
        leases_collect();
    if (take_few(unshared, index, zero))
        return true;
    if (!unshared && leases_may_ask()) {
        while (leases_ask(1, true)) {
            if (take_few(unshared, index, zero)) {
                leases_look_ahead();
                return true;
            }
        }
        count_fallback(1);
    }
    return *is_small = *zero = private_map(PRIVATE_SMALL_PAGES, 1, 1, index);
}

bool source_acquire_few(bool unshared, uint32_t *index, bool *zero, bool *is_small)
{
    sigset_t signals;
    *is_small = false;
    lock_acquire(&lock);
    bool ok = !link_is_pending() && !age_is_due() && !leases_look_ahead_is_due() &&
              take_few(unshared, index, zero);
    if (!ok) {
        glue_block_signals(&signals);
        ok = acquire_few(unshared, index, zero, is_small);
        age();
        glue_restore_signals(&signals);
    }
    if (ok)
        window_slab(*index)->zero = false;
    lock_release(&lock);
    return ok;
}

/* After something was released. */
static void look_around(uint32_t now_s, bool is_too_much)
{
    sigset_t signals;
    if (!link_is_pending() && !age_is_due_at(now_s) && !is_too_much)
        return;
    glue_block_signals(&signals);
    if (link_is_pending())
        leases_collect();
    age();
    if (is_too_much)
        surplus_purge();
    glue_restore_signals(&signals);
}

void source_release(uint32_t first, uint32_t n_slabs)
{
    lock_acquire(&lock);
    if (window_slab(first)->is_sparse) /* or none of the block is */
        private_make_dense(first, n_slabs);
    uint32_t now_s = glue_now_s();
    freeslabs_put_used(first, n_slabs, now_s);
    extents_deactivate(first, n_slabs);
    if (freeslabs.n_warm_private > 0)
        atomic_store_relaxed(&has_warm_private, 1);
    look_around(now_s, surplus_note_released(n_slabs));
    lock_release(&lock);
}

void source_release_sparse(uint32_t first, uint32_t n_slabs)
{
    lock_acquire(&lock);
    for (uint32_t i = first; i < first + n_slabs; i++) {
        window_slab(i)->zero = true;
        freeslabs_put_sparse(i);
    }
    look_around(glue_now_s(), false);
    lock_release(&lock);
}

bool source_extend(uint32_t first, uint32_t n_old, uint32_t n_new)
{
    sigset_t signals;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    /* What grows is not sparse; and the kernel moves a mapping of one kind of pages only. */
    private_make_dense(first, n_old);
    bool extended = private_extend(first + n_old, n_new - n_old);
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
    if (!private_map(PRIVATE_APART, n_new, 1, &at))
        goto out;
    private_make_room(n_new);
    moved = glue_move(window_address(first), window_address(at), superslab_bytes(n_old));
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

/* All its pages, that is what is asked for; of a huge one, any. False: the kernel has none. */
static bool bring_in(uint32_t index)
{
    struct superslab *slab = window_slab(index);
    bool is_one = slab->backing == SUPERSLAB_LEASED && slab->huge_page;
    if (!glue_bring_in(window_address(index), is_one ? glue_page_bytes() : SUPERSLAB_BYTES))
        return false;
    slab->is_untouched = false;
    return true;
}

/*
 * So that what is warm is used without a system call, and stays so: ACTIVE, as the daemon may take
 * IDLE ones at any moment. One that it has taken is not warm any more. How many are kept, up to
 * n_slabs.
 */
static uint32_t keep_warm(uint32_t n_slabs)
{
    uint32_t n = 0, until_s = glue_now_s() + SOURCE_KEEP_S;
    for (uint32_t i = FIRST_INDEX + 1; n < n_slabs && (i = next_warm(i)) != BITMAP_NONE; i++) {
        struct superslab *slab = window_slab(i);
        if (!slab->is_kept && extents_activate(i, 1, false) == 0) {
            freeslabs_remove(i);
            freeslabs_put_cold(i);
            continue;
        }
        if (!bring_in(i)) {
            if (!slab->is_kept)
                extents_deactivate(i, 1);
            break;
        }
        slab->is_kept = true;
        n++;
    }
    atomic_store_relaxed(&kept_until_s, until_s != 0 ? until_s : 1);
    return n;
}

static uint32_t warm_missing(uint32_t n_slabs)
{
    int32_t n_warm = freeslabs.n_warm_leased + freeslabs.n_warm_private;
    n_warm -= bitmap_test(freeslabs.warm, FIRST_INDEX);
    return n_warm < (int32_t)n_slabs ? n_slabs - (uint32_t)n_warm : 0;
}

/* Leases until there are so many warm SuperSlabs. False: no more is to be had now. */
static bool prewarm_leased(uint32_t n_slabs)
{
    uint32_t missing;
    while ((missing = warm_missing(n_slabs)) > 0) {
        uint32_t chunk = missing > EXTENT_MAX_SLABS ? EXTENT_MAX_SLABS : missing;
        if (!leases_ask(1u << (31 - __builtin_clz(chunk)), true))
            return false;
    }
    return true;
}

/* What is free already, its pages gone, is brought in again before there is more of it. */
static bool prewarm_cold(void)
{
    uint32_t index;
    bool zero, ok = freeslabs_take(FREESLABS_COLD, 1, 1, &index, &zero);
    if (ok && index == FIRST_INDEX) {
        ok = freeslabs_take(FREESLABS_COLD, 1, 1, &index, &zero);
        freeslabs_put_cold(FIRST_INDEX);
    }
    if (!ok && !acquire_former_sparse(1, 1, &index, &zero))
        return false;
    bring_in(index);
    freeslabs_put_warm(index);
    return true;
}

/* The same as prewarm_leased(), from private memory, whose pages keep_warm() brings in. */
static bool prewarm_private(uint32_t n_slabs)
{
    uint32_t missing;
    while ((missing = warm_missing(n_slabs)) > 0) {
        if (prewarm_cold())
            continue;
        uint32_t first, chunk = missing > EXTENT_MAX_SLABS ? EXTENT_MAX_SLABS : missing;
        if (!private_map(PRIVATE_AMONG_OTHERS, chunk, 1, &first))
            return false;
        for (uint32_t i = first; i < first + chunk; i++)
            freeslabs_put_warm(i);
    }
    return true;
}

static bool prewarm(uint32_t n_slabs, sigset_t *signals)
{
    bool ok = prewarm_leased(n_slabs);
    /* No allocation is held up here, and what came late would be taken in by one that is. */
    for (unsigned ms = 0; !ok && link_is_pending() && ms < PREWARM_PATIENCE_MS; ms++) {
        glue_restore_signals(signals);
        lock_release(&lock);
        glue_pause_us(1000);
        lock_acquire(&lock);
        glue_block_signals(signals);
        ok = prewarm_leased(n_slabs);
    }
    return ok || prewarm_private(n_slabs);
}

bool source_prewarm(uint32_t n_slabs)
{
    sigset_t signals;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    /* Once more for what the daemon took meanwhile. */
    bool ok = prewarm(n_slabs, &signals);
    uint32_t n_kept = keep_warm(n_slabs);
    for (unsigned n = 0; n_kept < n_slabs && ok && n < PREWARM_MORE; n++) {
        ok = prewarm(n_slabs, &signals);
        n_kept = keep_warm(n_slabs);
    }
    age();
    glue_restore_signals(&signals);
    lock_release(&lock);
    return ok && n_kept >= n_slabs;
}

void source_tick(void)
{
    sigset_t signals;
    bool is_wanted = originals_are_any() || atomic_load_relaxed(&has_warm_private) ||
                     atomic_load_relaxed(&kept_until_s) != 0;
    if (check_likely(!is_wanted) || !age_is_due() || !lock_try_acquire(&lock))
        return;
    glue_block_signals(&signals);
    age();
    glue_restore_signals(&signals);
    lock_release(&lock);
}

size_t source_trim(size_t keep_bytes)
{
    sigset_t signals;
    lock_acquire(&lock);
    glue_block_signals(&signals);
    leases_collect();
    let_go();
    size_t n_bytes = private_purge(0, keep_bytes) + leases_return(UINT32_MAX);
    uint64_t before = originals_counters()->given_back_bytes;
    originals_give_back(ORIGINALS_NOW);
    n_bytes += originals_counters()->given_back_bytes - before;
    glue_restore_signals(&signals);
    lock_release(&lock);
    return n_bytes;
}

void source_shrink_window(uint32_t n_more)
{
    lock_acquire(&lock);
    window_shrink(n_more);
    lock_release(&lock);
}

void source_stats(struct source_stats *out)
{
    lock_acquire(&lock);
    *out = (struct source_stats){
        .leased_bytes = leases.bytes,
        .leased_peak_bytes = leases.peak_bytes,
        .private_bytes = private_memory.bytes,
        .private_peak_bytes = private_memory.peak_bytes,
        .free_bytes = superslab_bytes((uint32_t)freeslabs_count()),
        .leases = leases.count,
        .fallbacks = n_fallbacks,
    };
    lock_release(&lock);
}

uint64_t source_private_bytes(void)
{
    return atomic_load_relaxed(&private_memory.bytes); /* a figure */
}

uint64_t source_n_fallbacks(void)
{
    return atomic_load_relaxed(&n_fallbacks); /* a figure */
}

bool source_init(void)
{
    glue_populate_pages(&freeslabs, sizeof(freeslabs.warm[0]));
    /* Mostly untouched in small programs: a huge page would be all theirs. */
    if (!window_take_at(FIRST_INDEX, 1) ||
        !glue_make_usable(window_address(FIRST_INDEX), SUPERSLAB_BYTES))
        return false;
    glue_no_huge_pages(window_address(FIRST_INDEX), SUPERSLAB_BYTES);
    extents_set_private(FIRST_INDEX);
    window_slab(FIRST_INDEX)->is_untouched = false; /* brought in bit by bit */
    freeslabs_put_warm(FIRST_INDEX);
    bitmap_set(freeslabs.used, FIRST_INDEX); /* costs no more than what is touched of it */
    private_count(1);
    return true;
}

void source_forget_fallbacks(void)
{
    if (n_fallbacks != 0)
        n_fallbacks = 0;
}
