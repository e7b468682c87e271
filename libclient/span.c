/* See span.h. */
#include "libclient/span.h"

#include <string.h>

#include "common/check.h"
#include "libclient/firstregion.h"
#include "libclient/glue.h"
#include "libclient/holes.h"
#include "libclient/misuse.h"
#include "libclient/runs.h"
#include "libclient/spanpages.h"
#include "libclient/tables.h"

static_assert(SPAN_MAX_UNITS * PAGES_PER_UNIT - 1 <= UINT8_MAX, "n_ready_pages counts them");

/*
 * A bin keeps the last of its spans when it is empty, of which the next block would take a new one
 * otherwise: a short one always, one of up to so many units when such ones have come and gone a few
 * times.
 */
#define KEPT_UNITS     3u
#define KEPT_MAX_UNITS 4u
#define KEPT_AFTER     4u

static TABLE_FIRST struct bin bins[N_ARENAS][N_SMALL + 1];

static uint32_t n_open; /* arenas 0..n_open - 1 have bins that are set up */

void span_open_arena(unsigned arena)
{
    if (arena < n_open)
        return;
    for (unsigned class = 1; class <= N_SMALL; class ++)
        list_init(&bins[arena][class].partial);
    /* Pairs with the acquire in span_n_arenas(): whoever counts it in finds its bins set up. */
    atomic_store_release(&n_open, arena + 1);
}

void span_init(void)
{
    span_open_arena(0);
}

unsigned span_n_arenas(void)
{
    return atomic_load_acquire(&n_open); /* pairs with the release in span_open_arena() */
}

struct bin *span_bin(unsigned arena, unsigned class)
{
    return &bins[arena][class];
}

struct bin *span_numbered_bin(unsigned number)
{
    return &bins[(number - 1) / (N_SMALL + 1)][(number - 1) % (N_SMALL + 1)];
}

/* The span that the unit of `block` is part of. */
static inline struct span *span_of(const void *block)
{
    size_t number = window_unit_number(block);
    size_t unit = number % UNITS_PER_SUPERSLAB;
    unsigned first = window.slabs[number / UNITS_PER_SUPERSLAB].first_unit[unit];
    return window_span(number - unit + first);
}

/* Relaxed: hints. */
static unsigned next_span_units(const struct bin *bin, unsigned class)
{
    return sizeclass_span_units(class, atomic_load_relaxed(&bin->n_spans),
                                atomic_load_relaxed(&bin->n_units));
}

/* A span with no block carved yet: not a byte of its memory is touched. */
static struct span *span_create(unsigned arena, unsigned class, bool grows)
{
    bool zero;
    unsigned n_units = next_span_units(&bins[arena][class], class);
    unsigned n_blocks = (unsigned)(n_units * UNIT_BYTES / sizeclasses[class].block_bytes);
    char *run = runs_allocate(n_units, 1, class, grows, &zero);
    if (!run)
        return NULL;
    size_t unit = window_unit_number(run);
    struct span *span = window_span(unit);
    span->free_blocks = n_blocks <= SPAN_FEW_BLOCKS ? span->few_blocks : window.bitmaps[unit].words;
    span->n_blocks = span->n_free = (uint16_t)n_blocks;
    atomic_store_relaxed(&span->n_carved, 0); /* firstregion.c looks */
    span->hint = 0;
    span->class = (uint8_t) class;
    span->n_units = (uint8_t)n_units;
    span->arena = (uint8_t)arena;
    span->rest = 0;
    spanpages_note_use(span);
    span->n_ready_pages = zero && runs_is_in_first_region(run);
    list_init(&span->link);
    return span;
}

/* The bits of an empty span are cleared, so that the next span at this place finds them so. */
static void span_destroy(struct span *span)
{
    memset(span->free_blocks, 0, (span->n_carved + 63u) / 64 * sizeof(uint64_t));
    span->class = CLASS_NONE;
    runs_free(span_start(span), span->n_units);
}

/* Blocks, as the span was created: its end may have been left in the first region since. */
static uint64_t n_created(const struct span *span)
{
    return span->n_units * UNIT_BYTES / sizeclasses[span->class].block_bytes;
}

/* Under the bin's lock; atomic stores, since statistics read these without. */
static void count_in(struct bin *bin, const struct span *span)
{
    atomic_store_relaxed(&bin->n_spans, bin->n_spans + 1);
    atomic_store_relaxed(&bin->n_units, bin->n_units + span->n_units);
    atomic_store_relaxed(&bin->n_blocks, bin->n_blocks + n_created(span));
}

static void count_out(struct bin *bin, const struct span *span)
{
    atomic_store_relaxed(&bin->n_spans, bin->n_spans - 1);
    atomic_store_relaxed(&bin->n_units, bin->n_units - span->n_units);
    atomic_store_relaxed(&bin->n_blocks, bin->n_blocks - n_created(span));
}

static void list_span(struct bin *bin, struct span *span)
{
    list_push_front(&bin->partial, &span->link);
    atomic_store_relaxed(&span->listed_in, (uint16_t)span_bin_number(span->arena, span->class));
    bin->n_partial++;
}

static void unlist_span(struct bin *bin, struct span *span)
{
    list_remove(&span->link);
    atomic_store_relaxed(&span->listed_in, SPAN_UNLISTED);
    bin->n_partial--;
}

/* Of a class that has no more than a usual span it goes on when the program has outgrown the
 * region, while it is hardly begun: a new one would take as much of a huge page, for the few blocks
 * that such a class has. */
static bool is_hardly_used(const struct bin *bin, const struct span *span)
{
    return bin->n_units <= sizeclasses[span->class].n_units && span->n_carved <= span->n_blocks / 2;
}

/* The span ends with what has come in. */
static void end_in_first_region(struct span *span, unsigned n_ready)
{
    unsigned n_kept = span->n_carved > n_ready ? span->n_carved : n_ready;
    if (n_kept == 0)
        n_kept = 1; /* larger than a page */
    span->n_free = (uint16_t)(span->n_free - (span->n_blocks - n_kept));
    span->n_blocks = (uint16_t)n_kept;
    span->n_ready_pages = 0;
}

/*
 * In a SuperSlab with small pages, each of which costs a fault, before n more blocks are carved:
 * what they need beyond the pages that are there comes in, or as much again as is there, with one
 * system call. That takes as long as the faults would (22 us for 16 pages), or, on a virtual
 * machine whose faults are dear, a sixth. More than that at a time, and a small program pays for
 * pages on which it never has a block.
 *
 * A class that grows, in a program that has outgrown that SuperSlab, gets no more out of it; the
 * next span has huge pages.
 */
static void settle_first_region(const struct bin *bin, struct span *span, unsigned n)
{
    size_t block_bytes = sizeclasses[span->class].block_bytes;
    size_t ready_bytes = span->n_ready_pages * PAGE_BYTES;
    unsigned left = (unsigned)(span->n_blocks - span->n_carved);
    size_t wanted_bytes = (span->n_carved + (n < left ? n : left)) * block_bytes;
    if (wanted_bytes <= ready_bytes)
        return;
    if (firstregion_is_outgrown() && !is_hardly_used(bin, span)) {
        end_in_first_region(span, (unsigned)(ready_bytes / block_bytes));
        return;
    }
    size_t all_bytes = span->n_units * UNIT_BYTES;
    if (wanted_bytes < 2 * ready_bytes)
        wanted_bytes = 2 * ready_bytes < all_bytes ? 2 * ready_bytes : all_bytes;
    wanted_bytes = (wanted_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    glue_populate(span_start(span) + ready_bytes, wanted_bytes - ready_bytes);
    span->n_ready_pages = wanted_bytes == all_bytes ? 0 : (uint8_t)(wanted_bytes / PAGE_BYTES);
}

/* Takes up to n blocks out of one span into blocks[0..], lowest address last. */
static unsigned take_blocks(struct span *span, void **blocks, unsigned n)
{
    size_t block_bytes = sizeclasses[span->class].block_bytes;
    char *start = span_start(span);
    if (n > span->n_free)
        n = span->n_free;
    unsigned left = n;
    bool any_freed = span->n_free + span->n_carved > span->n_blocks; /* else not a bit is set */
    unsigned n_words = any_freed ? (span->n_carved + 63u) / 64 : 0;

    /* Freed blocks first: they are warm, and the rest of the span stays untouched. */
    unsigned word = span->hint;
    while (left > 0 && word < n_words) {
        uint64_t bits = span->free_blocks[word];
        while (bits && left > 0) {
            unsigned bit = (unsigned)__builtin_ctzl(bits);
            bits &= bits - 1;
            blocks[--left] = start + (word * 64 + bit) * block_bytes;
        }
        atomic_store_relaxed(&span->free_blocks[word], bits); /* see find_fault() */
        if (bits)
            break;
        word++;
    }
    span->hint = (uint8_t)word;
    unsigned n_carved = span->n_carved;
    while (left > 0) {
        /* Nobody has touched it, the daemon cleared it long ago: its ends come from memory, all at
         * once here, one by one where the program writes to them. */
        char *block = start + n_carved++ * block_bytes;
        __builtin_prefetch(block, 1);
        __builtin_prefetch(block + block_bytes - 1, 1);
        blocks[--left] = block;
    }
    atomic_store_relaxed(&span->n_carved, (uint16_t)n_carved);
    span->n_free = (uint16_t)(span->n_free - n);
    spanpages_note_use(span);
    if (check_unlikely(span->rest & SPANPAGES_HOLED))
        spanpages_close_holes(span, blocks, n);
    return n;
}

/* Takes from the listed spans. The blocks end at blocks + n. */
static unsigned take_from_bin(struct bin *bin, void **blocks, unsigned n)
{
    unsigned got = 0;
    while (got < n) {
        struct list *first = list_first(&bin->partial);
        if (!first)
            break;
        struct span *span = list_entry(first, struct span, link);
        if (span->n_ready_pages)
            settle_first_region(bin, span, n - got);
        if (span->n_free == 0) {
            unlist_span(bin, span);
            continue;
        }
        unsigned n_wanted = n - got;
        unsigned n_here = span->n_free < n_wanted ? span->n_free : n_wanted;
        take_blocks(span, blocks + n - got - n_here, n_here);
        got += n_here;
        if (span->n_free == 0)
            unlist_span(bin, span);
    }
    atomic_store_relaxed(&bin->n_out, bin->n_out + got); /* read without the lock */
    return got;
}

/* Has the class as much as a usual span already? Relaxed: a hint. */
static bool grows(const struct bin *bin, unsigned class)
{
    return atomic_load_relaxed(&bin->n_units) >= sizeclasses[class].n_units;
}

unsigned span_take(unsigned arena, unsigned class, void **blocks, unsigned n)
{
    struct bin *bin = &bins[arena][class];
    lock_acquire(&bin->lock);
    unsigned got = take_from_bin(bin, blocks, n);
    lock_release(&bin->lock);
    if (got == 0) {
        /* Not under the bin's lock: no lock is waited for while another is held. */
        struct span *span = span_create(arena, class, grows(bin, class));
        if (!span)
            return 0;
        lock_acquire(&bin->lock);
        list_span(bin, span);
        count_in(bin, span);
        got = take_from_bin(bin, blocks, n);
        lock_release(&bin->lock);
    }
    if (got < n)
        memmove(blocks, blocks + n - got, got * sizeof(*blocks));
    return got;
}

static uint64_t n_free_in(struct bin *bin)
{
    uint64_t n = 0;
    lock_acquire(&bin->lock);
    list_for_each(link, &bin->partial) n += list_entry(link, struct span, link)->n_free;
    lock_release(&bin->lock);
    return n;
}

bool span_prewarm(unsigned arena, unsigned class, size_t n)
{
    struct bin *bin = &bins[arena][class];
    uint64_t n_free = n_free_in(bin);
    while (n_free < n) {
        struct span *span = span_create(arena, class, true);
        if (!span)
            return false;
        n_free += span->n_blocks;
        lock_acquire(&bin->lock);
        list_span(bin, span);
        count_in(bin, span);
        lock_release(&bin->lock);
    }
    return true;
}

/*
 * What is wrong with `block`, or -1. *index_out: its index in the span. Without the bin's lock it
 * is right for a block that is live: its own bit does not change, nor whether it was carved, while
 * the bits beside it do. That is why these two are read and written by relaxed atomics.
 */
static inline int find_fault(const struct span *span, unsigned class, const char *block,
                             uint32_t *index_out)
{
    if (check_unlikely(span->class != class))
        return MISUSE_DOUBLE_FREE; /* the span has died since: all of its blocks had come home */
    size_t offset = (size_t)(block - span_start(span));
    uint32_t index = sizeclass_block_index(class, offset);
    if (check_unlikely(index * (size_t)sizeclasses[class].block_bytes != offset))
        return MISUSE_INTERIOR;
    if (check_unlikely(index >= atomic_load_relaxed(&span->n_carved)))
        return MISUSE_NEVER_ALLOCATED;
    if (check_unlikely((atomic_load_relaxed(&span->free_blocks[index / 64]) >> (index % 64)) & 1))
        return MISUSE_DOUBLE_FREE;
    *index_out = index;
    return -1;
}

void span_check_block(const void *pointer, unsigned class)
{
    uint32_t index;
    int fault = find_fault(span_of(pointer), class, pointer, &index);
    if (fault >= 0)
        misuse_abort((enum misuse)fault, pointer);
}

/* Marks or unmarks those of blocks[0..n) that are from `arena`, as if they came home and went out
 * again. Where the first fault is, or n. */
static unsigned mark_cached(unsigned arena, unsigned class, void *const *blocks, unsigned n,
                            bool mark, int *fault)
{
    for (unsigned i = 0; i < n; i++) {
        struct span *span = span_of(blocks[i]);
        uint32_t index = 0;
        if (span->arena % N_ARENAS != arena)
            continue;
        *fault = mark ? find_fault(span, class, blocks[i], &index) : -1;
        if (*fault >= 0)
            return i;
        if (!mark)
            index =
                sizeclass_block_index(class, (size_t)((const char *)blocks[i] - span_start(span)));
        uint64_t *bits = &span->free_blocks[index / 64];
        atomic_store_relaxed(bits, *bits ^ (uint64_t)1 << (index % 64)); /* see find_fault() */
    }
    return n;
}

void span_check_cached(unsigned class, void *const *blocks, unsigned n)
{
    int fault = -1, none;
    if (n == 0)
        return;
    unsigned arena = span_of(blocks[0])->arena % N_ARENAS;
    struct bin *bin = &bins[arena][class];
    lock_acquire(&bin->lock);
    unsigned at = mark_cached(arena, class, blocks, n, true, &fault);
    mark_cached(arena, class, blocks, at, false, &none);
    lock_release(&bin->lock);
    if (check_unlikely(fault >= 0))
        misuse_abort((enum misuse)fault, blocks[at]);
}

/* An empty one. */
static bool keep(struct bin *bin, const struct span *span)
{
    if (bin->n_partial > 1 || span->n_units > KEPT_MAX_UNITS)
        return false;
    if (span->n_units <= KEPT_UNITS || bin->n_gone == KEPT_AFTER)
        return true;
    bin->n_gone++;
    return false;
}

/* The span has been full, or has just become empty. One that is not to be kept goes to `emptied`.
 */
static __attribute__((noinline)) void relist_span(struct bin *bin, struct span *span,
                                                  struct list *emptied)
{
    if (span->listed_in == SPAN_UNLISTED)
        list_span(bin, span);
    if (span->n_free == span->n_blocks && !keep(bin, span)) {
        unlist_span(bin, span);
        count_out(bin, span);
        list_push_back(emptied, &span->link);
    }
}

/* One block comes home, under its bin's lock. Fault or -1. */
static inline int give_block(struct bin *bin, struct span *span, unsigned class, void *block,
                             struct list *emptied)
{
    uint32_t index;
    int fault = find_fault(span, class, block, &index);
    if (check_unlikely(fault >= 0))
        return fault;
    unsigned word = index / 64;
    atomic_store_relaxed(&span->free_blocks[word],
                         span->free_blocks[word] | (uint64_t)1 << (index % 64));
    if (word < span->hint)
        span->hint = (uint8_t)word;
    span->n_free++;
    if (check_unlikely(span->listed_in == SPAN_UNLISTED || span->n_free == span->n_blocks))
        relist_span(bin, span, emptied);
    return -1;
}

static void destroy_all(struct list *emptied)
{
    list_for_each_safe(link, emptied)
    {
        list_remove(link);
        span_destroy(list_entry(link, struct span, link));
    }
}

void span_give(unsigned class, void **blocks, unsigned n)
{
    struct list emptied = LIST_INIT(emptied);
    while (n > 0) {
        unsigned arena = span_of(blocks[0])->arena % N_ARENAS;
        struct bin *bin = &bins[arena][class];
        unsigned n_elsewhere = 0;
        lock_acquire(&bin->lock);
        for (unsigned i = 0; i < n; i++) {
            struct span *span = span_of(blocks[i]);
            if (check_unlikely(span->arena % N_ARENAS != arena)) {
                blocks[n_elsewhere++] = blocks[i];
                continue;
            }
            int fault = give_block(bin, span, class, blocks[i], &emptied);
            if (check_unlikely(fault >= 0)) {
                lock_release(&bin->lock);
                misuse_abort((enum misuse)fault, blocks[i]);
            }
        }
        atomic_store_relaxed(&bin->n_out,
                             bin->n_out - (n - n_elsewhere)); /* read without the lock */
        lock_release(&bin->lock);
        n = n_elsewhere;
    }
    destroy_all(&emptied);
}

size_t span_trim(void)
{
    size_t n_bytes = 0;
    for (unsigned arena = 0; arena < span_n_arenas(); arena++) {
        for (unsigned class = 1; class <= N_SMALL; class ++) {
            struct bin *bin = &bins[arena][class];
            struct list emptied = LIST_INIT(emptied);
            lock_acquire(&bin->lock);
            list_for_each_safe(link, &bin->partial)
            {
                struct span *span = list_entry(link, struct span, link);
                if (span->n_free != span->n_blocks)
                    continue;
                unlist_span(bin, span);
                count_out(bin, span);
                n_bytes += span->n_units * UNIT_BYTES;
                list_push_back(&emptied, &span->link);
            }
            lock_release(&bin->lock);
            destroy_all(&emptied);
        }
    }
    return n_bytes;
}

void span_stats(unsigned class, uint64_t *n_spans, uint64_t *n_out)
{
    *n_spans = *n_out = 0;
    for (unsigned arena = 0; arena < span_n_arenas(); arena++) {
        /* Relaxed: figures that may be a moment old. */
        *n_spans += atomic_load_relaxed(&bins[arena][class].n_spans);
        *n_out += atomic_load_relaxed(&bins[arena][class].n_out);
    }
}

void span_sizes(unsigned class, uint64_t *n_bytes, uint64_t *n_blocks)
{
    *n_bytes = *n_blocks = 0;
    for (unsigned arena = 0; arena < span_n_arenas(); arena++) {
        *n_bytes += atomic_load_relaxed(&bins[arena][class].n_units) << UNIT_SHIFT; /* likewise */
        *n_blocks += atomic_load_relaxed(&bins[arena][class].n_blocks);
    }
}

#ifdef HAKMEM_DEBUG
static bool span_is_valid(const struct span *span, unsigned arena, unsigned class)
{
    if (span->class != class || span->arena != arena || span->n_carved > span->n_blocks ||
        span->n_blocks > n_created(span) || span->n_units < sizeclasses[class].n_least_units ||
        span->n_units > sizeclasses[class].n_units)
        return false;
    unsigned n_bits = 0;
    for (unsigned word = 0; word < SPAN_MAX_BLOCKS / 64 && word * 64 < span->n_carved; word++) {
        if (word < span->hint && span->free_blocks[word])
            return false;
        n_bits += (unsigned)__builtin_popcountl(span->free_blocks[word]);
    }
    return n_bits + span->n_blocks - span->n_carved == span->n_free && span->n_free > 0 &&
           spanpages_are_valid(span);
}

bool span_bins_are_valid(void)
{
    bool valid = true;
    for (unsigned arena = 0; arena < span_n_arenas() && valid; arena++) {
        for (unsigned class = 1; class <= N_SMALL && valid; class ++) {
            struct bin *bin = &bins[arena][class];
            uint32_t n_listed = 0;
            uint64_t n_units = 0;
            lock_acquire(&bin->lock);
            list_for_each(link, &bin->partial)
            {
                struct span *span = list_entry(link, struct span, link);
                n_units += span->n_units;
                valid = valid && span->listed_in == span_bin_number(arena, class) &&
                        span_is_valid(span, arena, class);
                n_listed++;
            }
            valid = valid && n_listed == bin->n_partial && n_listed <= bin->n_spans &&
                    n_units <= bin->n_units && bin->n_out <= bin->n_blocks;
            lock_release(&bin->lock);
        }
    }
    return valid;
}
#endif
