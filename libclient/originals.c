/*
 * See originals.h.
 *
 *   current   the witness that is mapped: whoever is forked now holds it
 *   retired   the one before, if any: the marked originals are for its holders alone
 *
 * A round: find what is copied and mark it; map a new witness and retire the current one, in this
 * order. Whoever may read a marked original was forked before, and so holds the retired one (or one
 * that was found clear before this one was retired); whoever is forked later inherits the copy.
 * When the retired one is clear, the marked originals go. There is one round at a time.
 *
 * Every function begins with heed_fork(): in a process that was copied from the one that owns all
 * this nothing of it may be used, and the inherited witnesses stay mapped.
 */
#include "libclient/originals.h"

#include <pthread.h>
#include <string.h>

#include "common/atomic.h"
#include "libclient/copied.h"
#include "libclient/extentfile.h"
#include "libclient/forkmark.h"
#include "libclient/glue.h"
#include "libclient/settings.h"
#include "libclient/window.h"
#include "libclient/witness.h"

/* Fewer copied pages of a SuperSlab than this are left: the mappings of its 2 MiB page would be
 * split for little. */
#define WORTH_PAGES 96u
/* Copies are scattered beyond this many runs; then, from so many pages on, the rest of the
 * SuperSlab is copied, too: that is faster than to free them one by one, and ends the matter. */
#define SCATTERED_RUNS 32u
#define COMPLETE_PAGES 128u
/* Not looked for before so many pages may have been copied: a share of those that can be, or this.
 */
#define DUE_SHARE 16u
#define DUE_PAGES 512u
/* What a slow path does at most, in runs freed: a floor, and for each SuperSlab. */
#define WORK_FLOOR     256u
#define WORK_PER_SLAB  4u
#define WORK_COMPLETED 32u /* what it counts for to copy the rest of a SuperSlab */

/* Of one SuperSlab. */
struct original {
    uint64_t marked[COPIED_WORDS];
    uint64_t gone[COPIED_WORDS];
    uint32_t n_gone;
    bool is_watched;
    bool is_scattered; /* to be completed if no child is there */
};

static struct {
    bool has_begun;
    uint32_t era;
    struct witness current, retired;
    bool is_clear; /* the retired one was: what is marked may go */
    struct original *table;
    uint32_t n_watched; /* SuperSlabs with originals left; read without the lock, too */
    uint32_t n_marked;  /* SuperSlabs with marks */
    uint64_t faults_then;
    struct originals_counters counters;
} self = {.current = WITNESS_NONE, .retired = WITNESS_NONE};

const struct originals_counters *originals_counters(void)
{
    return &self.counters;
}

static void begin_era(void)
{
    /* Relaxed: see originals_is_own(). */
    atomic_store_relaxed(&self.era, self.era == UINT32_MAX ? 1 : self.era + 1);
    atomic_store_relaxed(&self.n_watched, 0);
    self.n_marked = 0;
    self.is_clear = false;
    witness_forget(&self.current);
    witness_forget(&self.retired);
}

static bool set_mark(void)
{
    uint64_t n_syscalls = 0;
    bool ok = forkmark_set(FORKMARK_ORIGINALS, &n_syscalls);
    glue_count_syscalls(n_syscalls);
    return ok;
}

/*
 * In a child, however it was made: the originals are its parent's. Its copies of the mappings of
 * the parent's witnesses stay for as long as it lives. True: this was the first call in it.
 */
static bool heed_fork(void)
{
    if (!forkmark_is_wiped(FORKMARK_ORIGINALS))
        return false;
    begin_era();
    set_mark();
    return true;
}

bool originals_is_own(const struct superslab *slab)
{
    /* A SuperSlab with an era was leased after the mark was made. Relaxed: in a process that
     * another thread of which is in heed_fork() or lose_era() at this moment, either answer is
     * right. */
    return slab->era != ORIGINALS_NO_ERA && slab->era == atomic_load_relaxed(&self.era) &&
           !forkmark_is_wiped(FORKMARK_ORIGINALS);
}

static bool is_watched(uint32_t index)
{
    const struct superslab *slab = window_slab(index);
    return self.table && slab->backing == SUPERSLAB_COPIED && slab->era != ORIGINALS_NO_ERA &&
           slab->era == self.era && self.table[index].is_watched;
}

static bool is_marked(uint32_t index)
{
    return bitmap_next(self.table[index].marked, 0, COPIED_PAGES, true) < COPIED_PAGES;
}

/* The next watched SuperSlab from `index` on, or BITMAP_NONE. */
static uint32_t next_watched(uint32_t index)
{
    for (; index < window.high_low; index++) {
        if (is_watched(index))
            return index;
    }
    for (index = index > window.n_apart ? index : window.n_apart; index < window.high_apart;
         index++) {
        if (is_watched(index))
            return index;
    }
    return BITMAP_NONE;
}

bool originals_are_watched(uint32_t first)
{
    for (uint32_t i = first; i < first + window_slab(first)->extent_slabs; i++) {
        if (is_watched(i))
            return true;
    }
    return false;
}

static void unwatch(uint32_t index)
{
    atomic_store_relaxed(&self.n_watched, self.n_watched - 1);
    if (is_marked(index))
        self.n_marked--;
    self.table[index].is_watched = false;
}

/* The table is address space for the whole window, made usable as far as it is used. */
static bool make_table_usable(uint32_t first, uint32_t n_slabs)
{
    if (!self.table)
        self.table = glue_reserve(window.n_slabs * sizeof(*self.table));
    if (!self.table)
        return false;
    uintptr_t page = glue_page_bytes();
    uintptr_t begin = (uintptr_t)&self.table[first] & ~(page - 1);
    uintptr_t end = ((uintptr_t)&self.table[first + n_slabs] + page - 1) & ~(page - 1);
    return glue_make_usable((void *)begin, end - begin);
}

/* The next fork needs the descriptor for what is still shared. */
static bool is_any_shared(uint32_t first)
{
    for (uint32_t i = first; i < first + window_slab(first)->extent_slabs; i++) {
        if (window_slab(i)->backing == SUPERSLAB_LEASED)
            return true;
    }
    return false;
}

/* The descriptors of extents that are another era's business, and copied. */
static void drop_strangers(void)
{
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    for (unsigned part = 0; part < 2; part++) {
        for (uint32_t i = begins[part]; i < ends[part]; i++) {
            struct superslab *slab = window_slab(i);
            if (slab->backing == SUPERSLAB_COPIED && slab->extent_first == i &&
                slab->era != self.era && !is_any_shared(i))
                extentfile_drop(slab);
        }
    }
}

uint32_t originals_era(void)
{
    int state;
    bool is_forked = heed_fork();
    if (glue_page_bytes() != COPIED_PAGE_BYTES)
        return ORIGINALS_NO_ERA;
    if (!self.has_begun) {
        if (!set_mark())
            return ORIGINALS_NO_ERA;
        self.has_begun = true;
        begin_era();
    }
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    if (is_forked)
        drop_strangers();
    bool ok = witness_exists(&self.current) || witness_init(&self.current);
    pthread_setcancelstate(state, NULL);
    return ok ? self.era : ORIGINALS_NO_ERA;
}

void originals_watch(uint32_t first, uint32_t n_slabs)
{
    heed_fork();
    uint32_t era = window_slab(first)->era;
    if (era == ORIGINALS_NO_ERA || era != self.era || !extentfile_may_keep() ||
        !make_table_usable(first, n_slabs)) {
        /* Theirs stay. Without an era nobody looks into the table for them, where there is none. */
        for (uint32_t i = first; i < first + n_slabs; i++)
            window_slab(i)->era = ORIGINALS_NO_ERA;
        return;
    }
    if (self.n_watched == 0)
        self.faults_then = glue_n_faults();
    for (uint32_t i = first; i < first + n_slabs; i++)
        self.table[i] = (struct original){.is_watched = true};
    atomic_store_relaxed(&self.n_watched, self.n_watched + n_slabs);
}

void originals_forget(uint32_t first, uint32_t n_slabs)
{
    heed_fork();
    for (uint32_t i = first; i < first + n_slabs; i++) {
        if (is_watched(i))
            unwatch(i);
    }
}

/* The originals of this era stay for good; what is leased from here on belongs to the next. */
static void lose_era(void)
{
    self.counters.witnesses_lost++;
    if (witness_exists(&self.current))
        witness_retire(&self.current);
    begin_era();
    drop_strangers();
}

bool originals_give_up_mapping(void)
{
    heed_fork();
    if (!witness_exists(&self.current))
        return false;
    lose_era();
    return true;
}

/* ---- one round ---- */

static bool is_due(enum originals_when when)
{
    if (when == ORIGINALS_NOW || witness_exists(&self.retired))
        return true;
    uint64_t n_share = (uint64_t)self.n_watched * COPIED_PAGES / DUE_SHARE;
    return glue_n_faults() - self.faults_then >= (n_share > DUE_PAGES ? n_share : DUE_PAGES);
}

static uint32_t count_pages(const uint64_t bits[COPIED_WORDS], uint32_t *n_runs)
{
    uint32_t n_pages = 0, page = 0;
    *n_runs = 0;
    while ((page = bitmap_next(bits, page, COPIED_PAGES, true)) < COPIED_PAGES) {
        uint32_t end = bitmap_next(bits, page, COPIED_PAGES, false);
        n_pages += end - page;
        *n_runs += 1;
        page = end;
    }
    return n_pages;
}

/* Marks what is copied of one SuperSlab, or leaves it for another round. False: the kernel does not
 * tell. */
static bool mark(int fd, uint32_t index, enum originals_when when)
{
    struct original *original = &self.table[index];
    uint32_t n_runs;
    memset(original->marked, 0, sizeof(original->marked));
    original->is_scattered = false;
    if (!copied_find(fd, window_address(index), original->marked))
        return false;
    for (uint32_t w = 0; w < COPIED_WORDS; w++)
        original->marked[w] &= ~original->gone[w];
    uint32_t n_pages = count_pages(original->marked, &n_runs);
    original->is_scattered = n_runs > SCATTERED_RUNS && n_pages >= COMPLETE_PAGES;
    bool is_worth_it = n_pages >= WORTH_PAGES && !original->is_scattered;
    if (is_worth_it || (when == ORIGINALS_NOW && n_pages > 0)) {
        original->is_scattered = false;
        self.n_marked++;
    } else {
        memset(original->marked, 0, sizeof(original->marked));
    }
    return true;
}

static bool mark_all(enum originals_when when, bool *any_scattered)
{
    int fd = copied_open();
    bool ok = fd >= 0;
    *any_scattered = false;
    self.n_marked = 0;
    for (uint32_t i = next_watched(0); ok && i != BITMAP_NONE; i = next_watched(i + 1)) {
        ok = mark(fd, i, when);
        *any_scattered = *any_scattered || self.table[i].is_scattered;
    }
    if (fd >= 0)
        glue_close(fd);
    if (!ok) {
        self.counters.failures++;
        for (uint32_t i = next_watched(0); i != BITMAP_NONE; i = next_watched(i + 1))
            memset(self.table[i].marked, 0, sizeof(self.table[i].marked));
        self.n_marked = 0;
    }
    return ok;
}

/* Frees the marked originals of one SuperSlab, which `alias` maps once more (NULL: they cannot be
 * freed, and are not tried again). How many runs that took. */
static uint32_t free_marked(uint32_t index, unsigned char *alias)
{
    struct original *original = &self.table[index];
    uint32_t page = 0, n_runs = 0;
    while ((page = bitmap_next(original->marked, page, COPIED_PAGES, true)) < COPIED_PAGES) {
        uint32_t end = bitmap_next(original->marked, page, COPIED_PAGES, false);
        size_t n_bytes = (size_t)(end - page) * COPIED_PAGE_BYTES;
        if (alias && glue_free_file_pages(alias + (size_t)page * COPIED_PAGE_BYTES, n_bytes))
            self.counters.given_back_bytes += n_bytes;
        else
            self.counters.failures++;
        for (; page < end; page++)
            bitmap_set(original->gone, page);
        original->n_gone += (uint32_t)(n_bytes / COPIED_PAGE_BYTES);
        n_runs++;
    }
    if (original->n_gone == COPIED_PAGES)
        unwatch(index);
    else
        self.n_marked--;
    memset(original->marked, 0, sizeof(original->marked));
    return n_runs;
}

/* The same for one extent. */
static uint32_t free_marked_of(uint32_t first)
{
    struct superslab *head = window_slab(first);
    uint32_t n_slabs = head->extent_slabs, n_runs = 0;
    unsigned char *alias = extentfile_map(head);
    for (uint32_t i = 0; i < n_slabs; i++) {
        if (is_watched(first + i) && is_marked(first + i))
            n_runs += free_marked(first + i, alias ? alias + superslab_bytes(i) : NULL);
    }
    if (alias)
        glue_unreserve(alias, superslab_bytes(n_slabs));
    if (!originals_are_watched(first) && !is_any_shared(first))
        extentfile_drop(head);
    return n_runs;
}

/* Frees marked originals, as many as `work` allows; the rest stays marked. */
static void free_all_marked(uint32_t work)
{
    uint32_t done = 0;
    for (uint32_t i = next_watched(0); i != BITMAP_NONE && done < work && self.n_marked > 0;
         i = next_watched(i + 1)) {
        if (is_marked(i))
            done += free_marked_of(window_slab(i)->extent_first);
    }
}

/* No child is there: copies the rest of the SuperSlabs that are to be completed. Their originals go
 * in the next round, as every page that was copied by a write. */
static void complete_scattered(uint32_t work)
{
    uint32_t done = 0;
    for (uint32_t i = next_watched(0); i != BITMAP_NONE && done < work; i = next_watched(i + 1)) {
        if (!self.table[i].is_scattered)
            continue;
        self.table[i].is_scattered = false;
        glue_populate(window_address(i), SUPERSLAB_BYTES);
        done += WORK_COMPLETED;
    }
}

/* Is what is marked nobody's any more? */
static bool is_clear(void)
{
    if (self.is_clear || settings.test_blind_witness)
        return true;
    switch (witness_ask(&self.retired)) {
    case WITNESS_ALONE:
        self.is_clear = true;
        return true;
    case WITNESS_HELD:
        return false;
    default:
        lose_era();
        return false;
    }
}

static void end_round(void)
{
    witness_forget(&self.retired);
    self.is_clear = false;
}

static void give_back(enum originals_when when)
{
    uint32_t work = self.n_watched * WORK_PER_SLAB;
    bool any_scattered;
    work = when == ORIGINALS_NOW ? UINT32_MAX : work < WORK_FLOOR ? WORK_FLOOR : work;
    if (witness_exists(&self.retired)) {
        if (!is_clear())
            return;
        free_all_marked(work);
        if (self.n_marked > 0)
            return;
        end_round();
    }
    self.faults_then = glue_n_faults();
    if (!mark_all(when, &any_scattered))
        return;
    bool completes = any_scattered && when != ORIGINALS_AT_FORK;
    if (self.n_marked == 0 && !completes)
        return;
    /* After the marks were set, and before the current one goes. */
    struct witness next;
    if (!witness_init(&next)) {
        self.counters.failures++;
        return;
    }
    witness_retire(&self.current);
    self.retired = self.current;
    self.current = next;
    if (!is_clear())
        return;
    if (completes)
        complete_scattered(work);
    free_all_marked(work);
    if (self.n_marked == 0)
        end_round();
}

bool originals_are_any(void)
{
    return atomic_load_relaxed(&self.n_watched) > 0; /* a hint */
}

void originals_give_back(enum originals_when when)
{
    int state;
    heed_fork();
    if (self.n_watched == 0 || !is_due(when))
        return;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    give_back(when);
    pthread_setcancelstate(state, NULL);
}
