/*
 * See purge.h.
 *
 * A pass goes over all carved SuperSlabs, in pieces, and notes in each span (`rest`) and SuperSlab
 * (`idle_units`) what was free; what is as it was at the pass before is purged.
 *
 * A SuperSlab with a 2 MiB page behind it loses that: so not for less than an eighth of it.
 *
 * `lock` is held for the length of a piece. Others are tried, never waited for: a signal handler
 * that forks may have interrupted the thread that holds one of those, and it waits for this one.
 * What another thread is at work on is passed over. Pages go under the lock that guards what is in
 * them: a bin's, or that of the units.
 */
#include "libclient/purge.h"

#include "common/check.h"
#include "libclient/glue.h"
#include "libclient/link.h"
#include "libclient/lock.h"
#include "libclient/originals.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/span.h"
#include "libclient/spanpages.h"
#include "libclient/window.h"

/* Of a SuperSlab with a 2 MiB page: at rest for a second, or while the heap grows, when it is the
 * speed of the next moment that pays. */
#define WORTH_PAGES        64u
#define WORTH_GROWTH_PAGES 192u

/* Pages that go are at rest for one pass; a large heap is walked less often. */
#define PASS_MS      1000u
#define SLABS_PER_MS 4u
/* A piece: so much for each millisecond since the last one, which was a pause ago or longer;
 * whoever comes by a slow path waits for it. As the clock is coarse, 150 to 350 calls (of 1.4 us
 * each), and what the last SuperSlab takes beyond; in a program that seldom comes by 800. */
#define CALLS_PER_MS   50u
#define LOOKS_PER_MS   100u
#define PIECE_PAUSE_MS 3u
#define PIECE_MOST_MS  16u
/* To split a 2 MiB page counts as so many calls. It takes as long as a hundred, but comes once. */
#define SPLIT_CALLS 16u

static struct lock lock;
static uint64_t due_ms;   /* of the next piece; read without the lock */
static uint64_t pass_ms;  /* the present pass began then */
static uint32_t cursor;   /* the SuperSlab to go on with; 0: a new pass */
static uint32_t n_looked; /* of the present pass */
static uint32_t n_calls;  /* of the present piece */
static bool must_split;   /* the present SuperSlab, before pages of it go */
static struct purge_counters counters;

struct lock *purge_lock(void)
{
    return &lock;
}

struct purge_counters purge_counters(void)
{
    return (struct purge_counters){
        .purged_bytes = atomic_load_relaxed(&counters.purged_bytes),
        .failures = atomic_load_relaxed(&counters.failures),
    };
}

/*
 * So that what goes of a 2 MiB page reaches the host. (Of leased memory the kernel sees to that.
 * While the heap grows it is not worth the time: when memory is short the kernel goes through such
 * pages itself.)
 */
static void split(const struct superslab *slab)
{
    must_split = false;
    if (slab->backing != SUPERSLAB_PRIVATE)
        return;
    glue_split_huge_page(window_address((uint32_t)(slab - window.slabs)));
    n_calls += SPLIT_CALLS;
}

bool purge_pages(void *at, size_t n_bytes, const struct superslab *slab)
{
    bool is_leased = slab->backing == SUPERSLAB_LEASED, ok;
    if (must_split)
        split(slab);
    if (is_leased && originals_is_own(slab))
        ok = glue_free_file_pages(at, n_bytes);
    else if (slab->backing == SUPERSLAB_PRIVATE)
        ok = glue_purge(at, n_bytes);
    else
        return false;
    n_calls++;
    if (ok)
        atomic_store_relaxed(&counters.purged_bytes, counters.purged_bytes + n_bytes);
    else
        atomic_store_relaxed(&counters.failures, counters.failures + 1);
    return ok;
}

/* ---- spans ---- */

/* The bin in whose list the span is, locked; NULL: it is in none, and may not be a span at all, or
 * somebody else has the lock. */
static struct bin *lock_bin_of(const struct span *span)
{
    /* Relaxed: tells which lock to take, and is looked at again under it. */
    unsigned number = atomic_load_relaxed(&span->listed_in);
    if (number == SPAN_UNLISTED)
        return NULL;
    struct bin *bin = span_numbered_bin(number);
    if (!lock_try_acquire(&bin->lock))
        return NULL;
    if (atomic_load_relaxed(&span->listed_in) == number)
        return bin;
    lock_release(&bin->lock);
    return NULL;
}

/* For growth: nothing was taken from it while the heap grew by two steps. */
#define GROWTH_REST 2u

static bool is_at_rest(const struct span *span)
{
    /* Relaxed: looked at again under the lock. */
    uint8_t age = atomic_load_relaxed(&spanpages_age);
    return settings.test_purge ||
           (uint8_t)(age - atomic_load_relaxed(&span->used_at)) >= GROWTH_REST;
}

/* May its pages go? Notes what it sees. Under the bin's lock. */
static bool is_ripe(struct span *span, enum purge_when when)
{
    unsigned holed = span->rest & SPANPAGES_HOLED;
    if ((span->rest & SPANPAGES_SEEN) && (span->rest & SPANPAGES_N_FREE) == span->n_free)
        return !(span->rest & SPANPAGES_DONE);
    if (when == PURGE_FOR_GROWTH)
        return is_at_rest(span);
    span->rest = (uint16_t)(SPANPAGES_SEEN | holed | span->n_free);
    return when == PURGE_NOW;
}

static unsigned count_free_pages(struct span *span, enum purge_when when)
{
    uint64_t pages[SPANPAGES_MAX / 64];
    if (when == PURGE_FOR_GROWTH && !is_at_rest(span))
        return 0;
    struct bin *bin = lock_bin_of(span);
    if (!bin)
        return 0;
    unsigned n_pages = is_ripe(span, when) ? spanpages_find_free(span, pages) : 0;
    lock_release(&bin->lock);
    return n_pages;
}

/* Under the bin's lock: nobody takes a block out of the span, and so its SuperSlab stays carved and
 * is what it is. */
static void purge_free_pages(struct span *span)
{
    const struct superslab *slab = window_slab(window_index(span_start(span)));
    uint64_t pages[SPANPAGES_MAX / 64];
    uint32_t n_pages = span->n_units * PAGES_PER_UNIT, page = 0;
    spanpages_find_free(span, pages);
    while ((page = bitmap_next(pages, page, n_pages, true)) < n_pages) {
        uint32_t end = bitmap_next(pages, page, n_pages, false);
        if (purge_pages(span_start(span) + page * PAGE_BYTES, (end - page) * PAGE_BYTES, slab))
            spanpages_open_holes(span, page, end);
        page = end;
    }
}

static void purge_span(struct span *span, enum purge_when when)
{
    struct bin *bin = lock_bin_of(span);
    if (!bin)
        return;
    /* As it was a moment ago, when its pages were counted. */
    if (is_ripe(span, when)) {
        purge_free_pages(span);
        span->rest = (uint16_t)(SPANPAGES_SEEN | SPANPAGES_DONE | (span->rest & SPANPAGES_HOLED) |
                                span->n_free);
        /* Others of the class are to be used before it. */
        list_remove(&span->link);
        list_push_back(&bin->partial, &span->link);
    }
    lock_release(&bin->lock);
}

/* ---- SuperSlabs ---- */

static unsigned worth_pages(enum purge_when when)
{
    if (settings.test_purge)
        return 1;
    return when == PURGE_FOR_GROWTH ? WORTH_GROWTH_PAGES : WORTH_PAGES;
}

void purge_slab(uint32_t index, enum purge_when when)
{
    struct runs_look look;
    size_t first_unit = (size_t)index * UNITS_PER_SUPERSLAB;
    if (!holes_init() || !runs_look(index, when != PURGE_WHEN_RESTED, &look))
        return;
    unsigned n_pages = (unsigned)__builtin_popcount(look.ripe) * PAGES_PER_UNIT;
    uint32_t ripe_spans = 0;
    for (uint32_t left = look.starts; left; left &= left - 1) {
        unsigned unit = (unsigned)__builtin_ctz(left);
        unsigned n_here = count_free_pages(window_span(first_unit + unit), when);
        n_pages += n_here;
        ripe_spans |= (uint32_t)(n_here > 0) << unit;
    }
    if (n_pages == 0 || (!look.is_split && n_pages < worth_pages(when)))
        return;
    must_split = !look.is_split && when != PURGE_FOR_GROWTH;
    if (!runs_purge(index, look.ripe, purge_pages))
        ripe_spans = 0;
    for (uint32_t left = ripe_spans; left; left &= left - 1)
        purge_span(window_span(first_unit + (unsigned)__builtin_ctz(left)), when);
    must_split = false; /* if nothing went after all */
}

enum piece {
    PIECE_LAST,     /* the pass is over */
    PIECE_MORE,     /* the next one goes on at *at */
    PIECE_HINDERED, /* likewise, once another thread has let go of the units' lock */
};

/* Under `lock`. */
static enum piece purge_piece(uint32_t *at, uint32_t max_calls, uint32_t max_looks,
                              enum purge_when when)
{
    n_calls = 0;
    for (uint32_t looks = 0; n_calls < max_calls && looks < max_looks; looks++) {
        if (!runs_next_carved(at))
            return PIECE_HINDERED;
        if (*at == BITMAP_NONE)
            return PIECE_LAST;
        purge_slab((*at)++, when);
        n_looked++;
    }
    return PIECE_MORE;
}

static bool is_pressed(void)
{
    bool pressed = settings.test_purge;
    if (lock_try_acquire(source_lock())) {
        pressed = pressed || link_pressure() != LEDGER_PRESSURE_NONE;
        lock_release(source_lock());
    }
    return pressed;
}

/* For so many milliseconds a piece makes up, if it comes so late. */
static uint32_t piece_ms(uint64_t late_ms)
{
    uint64_t n_ms = PIECE_PAUSE_MS + late_ms;
    return n_ms < PIECE_MOST_MS ? (uint32_t)n_ms : PIECE_MOST_MS;
}

void purge_tick(void)
{
    uint64_t now_ms = glue_now_ms();
    /* Relaxed: a hint; what is done is decided under the lock. */
    if (check_likely(now_ms < atomic_load_relaxed(&due_ms)) || !lock_try_acquire(&lock))
        return;
    uint64_t next_ms = due_ms;
    if (due_ms == 0) {
        next_ms = now_ms + PASS_MS;
    } else if (now_ms >= due_ms) {
        if (cursor == 0) {
            pass_ms = now_ms;
            n_looked = 0;
        }
        uint32_t n_ms = piece_ms(now_ms - due_ms);
        if (purge_piece(&cursor, n_ms * CALLS_PER_MS, n_ms * LOOKS_PER_MS,
                        is_pressed() ? PURGE_NOW : PURGE_WHEN_RESTED) == PIECE_LAST) {
            cursor = 0;
            next_ms = pass_ms + PASS_MS + n_looked / SLABS_PER_MS;
        } else {
            next_ms = now_ms + PIECE_PAUSE_MS;
        }
        if (settings.test_purge)
            next_ms = now_ms;
    }
    atomic_store_relaxed(&due_ms, next_ms);
    lock_release(&lock);
}

size_t purge_all(void)
{
    uint32_t at = 0;
    lock_acquire(&lock);
    uint64_t before = counters.purged_bytes;
    while (purge_piece(&at, UINT32_MAX, UINT32_MAX, PURGE_NOW) == PIECE_HINDERED) {
        lock_release(&lock);
        lock_acquire(runs_lock());
        lock_release(runs_lock());
        lock_acquire(&lock);
    }
    size_t n_bytes = (size_t)(counters.purged_bytes - before);
    lock_release(&lock);
    return n_bytes;
}
