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
#include "libclient/window.h"

#define PAGE_BYTES     ((size_t)4096)
#define PAGES_PER_UNIT ((unsigned)(UNIT_BYTES / PAGE_BYTES))
#define WORTH_PAGES    64u

/* Pages that go are at rest for one pass; a large heap is walked less often. */
#define PASS_MS      1000u
#define SLABS_PER_MS 4u
/* A piece: so much, then a pause. Some two milliseconds. */
#define PIECE_CALLS    512u
#define PIECE_LOOKS    1024u
#define PIECE_PAUSE_MS 10u

#define MAX_PAGES (UNITS_PER_SUPERSLAB * PAGES_PER_UNIT)

/* span.rest: 0 where blocks have been taken since the last look; else one of these, and n_free. */
#define REST_SEEN   0x4000u
#define REST_PURGED 0x8000u
#define REST_N_FREE 0x3fffu

static_assert(SPAN_MAX_BLOCKS <= REST_N_FREE, "n_free fits");

static struct lock lock;
static uint64_t due_ms;   /* of the next piece; read without the lock */
static uint64_t pass_ms;  /* the present pass began then */
static uint32_t cursor;   /* the SuperSlab to go on with; 0: a new pass */
static uint32_t n_looked; /* of the present pass */
static uint32_t n_calls;  /* of the present piece */
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

/* Under a lock that keeps the SuperSlab carved, and from being converted at a fork. */
static bool purge_pages(void *at, size_t n_bytes, const struct superslab *slab)
{
    bool is_leased = slab->backing == SUPERSLAB_LEASED, ok;
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

/* The pages of a span that hold no part of a block that is out, or cannot. How many. */
static unsigned find_free_pages(const struct span *span, uint64_t pages[MAX_PAGES / 64])
{
    size_t block_bytes = sizeclasses[span->class].block_bytes;
    unsigned n_pages = span->n_units * PAGES_PER_UNIT, n_used = 0;
    for (unsigned page = 0; page < n_pages; page += 64)
        pages[page / 64] = ~(uint64_t)0;
    for (unsigned word = 0; word * 64 < span->n_carved; word++) {
        uint64_t out = ~span->free_blocks[word];
        if (span->n_carved - word * 64 < 64)
            out &= ((uint64_t)1 << (span->n_carved - word * 64)) - 1;
        for (; out; out &= out - 1) {
            size_t begin = (word * 64 + (unsigned)__builtin_ctzl(out)) * block_bytes;
            size_t last = (begin + block_bytes - 1) / PAGE_BYTES;
            for (size_t page = begin / PAGE_BYTES; page <= last; page++) {
                n_used += bitmap_test(pages, (uint32_t)page);
                bitmap_clear(pages, (uint32_t)page);
            }
        }
    }
    return n_pages - n_used;
}

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

/* May its pages go? Notes what it sees. Under the bin's lock. */
static bool is_ripe(struct span *span, bool at_once)
{
    unsigned state = span->rest & ~REST_N_FREE;
    if (state != 0 && (span->rest & REST_N_FREE) == span->n_free)
        return state == REST_SEEN;
    span->rest = (uint16_t)(REST_SEEN | span->n_free);
    return at_once;
}

static unsigned count_free_pages(struct span *span, bool at_once)
{
    uint64_t pages[MAX_PAGES / 64];
    struct bin *bin = lock_bin_of(span);
    if (!bin)
        return 0;
    unsigned n_pages = is_ripe(span, at_once) ? find_free_pages(span, pages) : 0;
    lock_release(&bin->lock);
    return n_pages;
}

/* Under the bin's lock: nobody takes a block out of the span, and so its SuperSlab stays carved and
 * is what it is. */
static void purge_free_pages(struct span *span)
{
    const struct superslab *slab = window_slab(window_index(span_start(span)));
    uint64_t pages[MAX_PAGES / 64];
    uint32_t n_pages = span->n_units * PAGES_PER_UNIT, page = 0;
    find_free_pages(span, pages);
    while ((page = bitmap_next(pages, page, n_pages, true)) < n_pages) {
        uint32_t end = bitmap_next(pages, page, n_pages, false);
        purge_pages(span_start(span) + page * PAGE_BYTES, (end - page) * PAGE_BYTES, slab);
        page = end;
    }
}

static void purge_span(struct span *span)
{
    struct bin *bin = lock_bin_of(span);
    if (!bin)
        return;
    /* As it was a moment ago, when its pages were counted. */
    if (span->rest == (REST_SEEN | span->n_free)) {
        purge_free_pages(span);
        span->rest = (uint16_t)(REST_PURGED | span->n_free);
    }
    lock_release(&bin->lock);
}

/* ---- SuperSlabs ---- */

static void purge_slab(uint32_t index, bool at_once)
{
    struct runs_look look;
    struct span *spans = &window.spans[(size_t)index * UNITS_PER_SUPERSLAB];
    if (!runs_look(index, at_once, &look))
        return;
    unsigned n_pages = (unsigned)__builtin_popcount(look.ripe) * PAGES_PER_UNIT;
    uint32_t ripe_spans = 0;
    for (uint32_t left = look.starts; left; left &= left - 1) {
        unsigned unit = (unsigned)__builtin_ctz(left);
        unsigned n_here = count_free_pages(&spans[unit], at_once);
        n_pages += n_here;
        ripe_spans |= (uint32_t)(n_here > 0) << unit;
    }
    if (n_pages == 0 || (!look.is_split && n_pages < WORTH_PAGES))
        return;
    if (!runs_purge(index, look.ripe, purge_pages))
        return;
    for (uint32_t left = ripe_spans; left; left &= left - 1)
        purge_span(&spans[__builtin_ctz(left)]);
}

enum piece {
    PIECE_LAST,     /* the pass is over */
    PIECE_MORE,     /* the next one goes on at *at */
    PIECE_HINDERED, /* likewise, once another thread has let go of the units' lock */
};

/* Under `lock`. */
static enum piece purge_piece(uint32_t *at, uint32_t max_calls, uint32_t max_looks, bool at_once)
{
    n_calls = 0;
    for (uint32_t looks = 0; n_calls < max_calls && looks < max_looks; looks++) {
        if (!runs_next_carved(at))
            return PIECE_HINDERED;
        if (*at == BITMAP_NONE)
            return PIECE_LAST;
        purge_slab((*at)++, at_once);
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
        if (purge_piece(&cursor, PIECE_CALLS, PIECE_LOOKS, is_pressed()) == PIECE_LAST) {
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
    while (purge_piece(&at, UINT32_MAX, UINT32_MAX, true) == PIECE_HINDERED) {
        lock_release(&lock);
        lock_acquire(runs_lock());
        lock_release(runs_lock());
        lock_acquire(&lock);
    }
    size_t n_bytes = (size_t)(counters.purged_bytes - before);
    lock_release(&lock);
    return n_bytes;
}
