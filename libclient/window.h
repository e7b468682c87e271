/*
 * The window: one reservation of address space in which every SuperSlab of the process lies, and
 * the metadata about it.
 *
 * SuperSlab i is at base + i * 2 MiB, so finding a block's metadata is arithmetic. Metadata is out
 * of line: nothing is stored in a SuperSlab but blocks, and a heap overflow cannot reach it. One
 * reservation holds, in this order,
 *
 *   unit map   one byte per 64 KiB: the size class of the blocks there (CLASS_NONE: not ours)
 *   arena      memory for thread caches
 *   bitmaps    for each unit, room for a bit per smallest block: the free blocks of a span, where
 *              they are too many for its struct
 *   spans      struct span for each unit, downwards; used is the one of a span's or a large block's
 *              first unit
 *   slabs      struct superslab each
 *   window     the SuperSlabs
 *
 * and is made usable in chunks as the window fills. Spans go down and slabs go up from one place,
 * so that what a small program has of both is in two pages in a row, under one page of page table:
 * each of those costs a process more than the pages that it is for. The unit map is flat: it covers
 * the whole user address space, so that free() looks any pointer up with one load and no range
 * check. It is read-only and untouched outside the window's part. Where address space is limited
 * the map covers the window alone; window_fast.shift is then 63, which makes the fast path look at
 * entry 0 or 1 of an empty map and so take the slow path, which does check the range.
 *
 * Place in the life of a SuperSlab: mapped (the mapping itself is source.c's).
 */
#ifndef HAKMEM_LIBCLIENT_WINDOW_H
#define HAKMEM_LIBCLIENT_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/atomic.h"
#include "common/list.h"
#include "common/superslab.h"
#include "libclient/bitmap.h"
#include "libclient/sizeclass.h"

#define WINDOW_MAX_SLABS (1u << 19) /* 1 TiB */
#define WINDOW_MIN_SLABS 16u

enum superslab_kind {
    SUPERSLAB_NONE = 0, /* address space only */
    SUPERSLAB_FREE,     /* backed by memory, no blocks; in source.c's hands */
    SUPERSLAB_UNITS,    /* carved into runs of units; in runs.c's hands */
    SUPERSLAB_HUGE,     /* first SuperSlab of a huge block; in huge.c's hands */
    SUPERSLAB_HUGE_TAIL /* a further one */
};

enum superslab_backing {
    SUPERSLAB_UNBACKED = 0,
    SUPERSLAB_PRIVATE, /* anonymous memory */
    SUPERSLAB_LEASED,  /* part of an extent, mapped shared */
    SUPERSLAB_COPIED   /* part of an extent, mapped private on top of it since a fork */
};

/* What is known of one SuperSlab. Who may write which part stands with the part; `kind` changes in
 * its owner's hands. */
struct superslab {
    /* runs.c, under its lock, while kind is SUPERSLAB_UNITS. */
    struct list link; /* runs.c: buckets[longest_free_run] */
    uint32_t free_units;
    uint32_t dirty_units;  /* units handed out since the memory last was known to be zero */
    uint32_t idle_units;   /* free and dirty, and so they were at purge.c's last look */
    uint32_t purged_units; /* free, all of their pages gone, and not handed out since */
    uint32_t holed_units;  /* free, some of their pages gone: holes.h */
    uint8_t longest_free_run;
    bool is_first_region; /* firstregion.h */
    bool is_split;        /* no 2 MiB page that purging would cost is behind it */
    bool has_small_pages; /* private, and so by our word: its free pages are not to come back */

    /* The owner in `kind`: see window_kind(). */
    uint8_t kind; /* enum superslab_kind */

    /* source.c, under its lock. */
    uint8_t backing;      /* enum superslab_backing */
    uint8_t extent_slabs; /* of the extent it is part of */
    bool zero;            /* SUPERSLAB_FREE: reads as zero all over */
    bool huge_page;       /* leased: the daemon measured a 2 MiB page behind it */
    bool is_mapped_in; /* leased, without one: all of its pages have been mapped, none gone since */
    bool is_untouched; /* since it was mapped: its first page is still to come in */
    bool is_kept;      /* SUPERSLAB_FREE: prewarmed, to stay warm: source_prewarm() */
    bool is_sparse;    /* private, in small pages, for what sparse.h says */
    uint32_t extent_first; /* index of the extent's first SuperSlab */
    uint32_t slot;         /* in the ledger of `generation` */
    uint32_t generation;   /* of the link under which it was leased */
    uint32_t idle_since_s; /* SUPERSLAB_FREE: when it became so, coarse seconds */
    uint64_t extent_id;
    int extent_fd; /* in the extent's first SuperSlab: for the conversion at fork; -1 none */
    uint32_t era;  /* originals.h */
    uint64_t extent_inode;

    /* huge.c: in the first SuperSlab of a block. */
    uint32_t huge_slabs;
    int32_t huge_spare_pages; /* its part of huge_spare_pages() */
    /* huge.c, for sparse.c: how much of it was cleared for a zeroed block, which nothing but that
     * block has been in since, and that block's size. */
    uint8_t zeroed_units, zeroed_size;

    /* runs.c: for each unit that is handed out, the first unit of its run. */
    uint8_t first_unit[UNITS_PER_SUPERSLAB];
} __attribute__((aligned(128)));

static_assert(sizeof(struct superslab) == 128 || sizeof(struct superslab) == 256,
              "two cache lines, or four");

/* Spans of at most so many blocks keep their bitmap in their struct: the metadata of larger blocks
 * costs no page of bitmaps. */
#define SPAN_FEW_WORDS  3u
#define SPAN_FEW_BLOCKS (SPAN_FEW_WORDS * 64u)

/* span.h has the life of a span. In its first unit's entry. */
struct span {
    struct list link;      /* span.c: bin.partial, or none */
    uint64_t *free_blocks; /* bit set: the block is free and was carved */
    uint16_t n_free;       /* blocks in the span: free ones carved, and all not yet carved */
    uint16_t n_carved;     /* blocks below it were handed out at least once */
    uint16_t n_blocks;
    uint8_t hint;    /* no word of free_blocks below it has a bit set */
    uint8_t used_at; /* span.h: the heap's age when blocks were last taken */
    uint8_t class;   /* CLASS_NONE: no span begins here */
    uint8_t n_units;
    uint8_t arena;
    uint8_t n_ready_pages; /* span.c: of one in small pages, how many have come in, the first
                              always; 0: see to none */
    uint16_t listed_in;    /* span.h: the bin in whose list it is, or SPAN_UNLISTED */
    uint16_t rest;         /* spanpages.h: n_free at the last look, if untouched since */
    uint64_t few_blocks[SPAN_FEW_WORDS]; /* what free_blocks points to if they suffice; else 0 */
} __attribute__((aligned(64)));

static_assert(sizeof(struct span) == 64, "a span's metadata is one cache line");

/* One unit's bits, if it is the first of a span. All 0 while none is. */
struct unit_bitmap {
    uint64_t words[SPAN_MAX_BLOCKS / 64];
};

struct window {
    uintptr_t base;
    uint32_t n_slabs; /* 0: not initialised, or no address space to be had */
    uint32_t n_apart; /* indices from here on are for blocks that may grow; the rest is below */
    uint32_t high_low,
        high_apart; /* no index from here to the end of its part was ever taken; source.c's lock */
    uint8_t *unit_class; /* indexed by address >> UNIT_SHIFT; only within the window if not flat */
    struct superslab *slabs;
    struct span *spans;          /* of unit 0; see window_span() */
    struct unit_bitmap *bitmaps; /* likewise */
};

extern struct window window __attribute__((visibility("hidden")));

/* For free()'s fast path alone: map[address >> shift]; see above. Written before there are threads.
 */
struct window_fast {
    const uint8_t *map;
    uint8_t shift; /* UNIT_SHIFT, or 63 to send every free() down the slow path */
};
extern struct window_fast window_fast __attribute__((visibility("hidden")));

/* Reserves it. False: no address space at all. Not thread-safe: once, under override.c's
 * initialisation. */
bool window_init(void);
/* Every free() of every thread takes the slow path from here on. */
void window_disable_fast_path(void);
/*
 * A program that limits its own address space (RLIMIT_AS) finds it full: of our reservation. Gives
 * back what will not be needed under that limit. Under source.c's lock.
 */
void window_heed_limit(void);
/* The same for at most so many SuperSlabs beyond those that were ever taken. */
void window_shrink(uint32_t n_more);
/* Does a pointer into the window point to what it has given up? That is anybody's. */
bool window_has_given_up(const void *pointer);

/* Memory for thread caches: never given back, aligned to 64 bytes; NULL when exhausted. Under
 * cache.c's lock. */
void *window_arena_allocate(size_t n_bytes);

/*
 * Address space for n SuperSlabs in a row at a multiple of `align` SuperSlabs, metadata usable.
 * `apart` looks first where there is room to grow behind it. BITMAP_NONE if there is none. Under
 * source.c's lock, as is window_drop().
 */
uint32_t window_take(uint32_t n_slabs, uint32_t align, bool apart);
/* The n indices at `first`, if they are all free. */
bool window_take_at(uint32_t first, uint32_t n_slabs);
void window_drop(uint32_t first, uint32_t n_slabs);

static inline bool window_contains(const void *pointer)
{
    return (uintptr_t)pointer - window.base < (uintptr_t)window.n_slabs << SUPERSLAB_SHIFT;
}

static inline uint32_t window_index(const void *pointer)
{
    return (uint32_t)(((uintptr_t)pointer - window.base) >> SUPERSLAB_SHIFT);
}

static inline void *window_address(uint32_t index)
{
    return (void *)(window.base + ((uintptr_t)index << SUPERSLAB_SHIFT));
}

static inline struct superslab *window_slab(uint32_t index)
{
    return &window.slabs[index];
}

/*
 * source.c walks over extents of which a part is in others' hands, who change the kind without its
 * lock. Relaxed: what it looks for is SUPERSLAB_FREE, which comes and goes under its lock alone; of
 * the others one is as good as the next.
 */
static inline enum superslab_kind window_kind(const struct superslab *slab)
{
    return (enum superslab_kind)atomic_load_relaxed(&slab->kind);
}

static inline void window_set_kind(struct superslab *slab, enum superslab_kind kind)
{
    atomic_store_relaxed(&slab->kind, (uint8_t)kind);
}

/* The span's entry for the unit of that number in the window, and back. */
static inline struct span *window_span(size_t unit)
{
    return window.spans - unit;
}

static inline size_t window_span_unit(const struct span *span)
{
    return (size_t)(window.spans - span);
}

/* The class of the blocks at `pointer`; CLASS_NONE for anything that is not in use by us. */
static inline unsigned window_class(const void *pointer)
{
    return window_contains(pointer) ? window.unit_class[(uintptr_t)pointer >> UNIT_SHIFT]
                                    : CLASS_NONE;
}

/* The same as free() sees it: where address space is limited, CLASS_NONE for whatever there is. */
static inline unsigned window_fast_class(const void *pointer)
{
    return window_fast.map[(uintptr_t)pointer >> window_fast.shift];
}

static inline unsigned window_unit(const void *pointer)
{
    return ((uintptr_t)pointer >> UNIT_SHIFT) % UNITS_PER_SUPERSLAB;
}

/* The number of the unit in the window that holds `pointer`. */
static inline size_t window_unit_number(const void *pointer)
{
    return ((uintptr_t)pointer - window.base) >> UNIT_SHIFT;
}

/* Is there metadata for this index, whatever it says? Any index below n_slabs may be asked about.
 */
bool window_is_known(uint32_t index);

/* Marks n units from `pointer` in the unit map. By whoever owns the units. */
static inline void window_set_class(const void *pointer, size_t n_units, unsigned class)
{
    __builtin_memset(&window.unit_class[(uintptr_t)pointer >> UNIT_SHIFT], (int)class, n_units);
}

#endif
