/*
 * hakmem.h - what libhakmem offers beside the malloc family.
 *
 * Link with -lhakmem, or look the functions up with dlsym() in a program that may run with or
 * without the preloaded library. All functions are thread-safe. None is async-signal-safe. See
 * hak_api(3).
 */
#ifndef HAKMEM_H
#define HAKMEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HAKMEM_API_VERSION 1

/* The library's version, "MAJOR.MINOR.PATCH"; static storage. */
const char *hak_version(void);

/* Where a pointer comes from. */
enum hak_owner {
    HAK_OWNER_NONE = 0,    /* not this library's: another allocator's, the stack, nothing at all */
    HAK_OWNER_PRIVATE = 1, /* a SuperSlab of the process's own anonymous memory */
    HAK_OWNER_LEASED = 2,  /* a SuperSlab leased by hakmemd */
};

/* Never follows the pointer: any value may be asked about. */
enum hak_owner hak_owns(const void *pointer);

/*
 * Connects to the daemon now, if that is allowed (HAKMEM_CONNECT) and not yet done, and brings in
 * at least `n_bytes` of memory (rounded up to whole SuperSlabs of 2 MiB, at most 1 GiB), so that
 * later allocations find it mapped. What is free and there already counts. 0, or -EINVAL (n_bytes
 * is 0 or too large), or -ENOMEM. Memory that the daemon does not give within about 50 ms is
 * private memory, whose pages are brought in before this returns.
 *
 * It stays, whether it is used or not, for a minute from the last such call; after that, or once it
 * was used and is free again, it is as any free memory, which goes back to the host when it was not
 * wanted for a second or two. Sooner it goes by hak_trim(), or while the daemon reports memory
 * pressure. The minute's end and the pressure are seen when the program next allocates or frees
 * past its thread's cache: one that sleeps keeps it for so long.
 */
int hak_ss_prewarm_init(size_t n_bytes);

/*
 * Carves spans for `count` blocks of the size class that serves `size` bytes, and fills the calling
 * thread's cache from them as far as its capacity goes. 0, or -EINVAL (size is 0 or above the small
 * classes, count is 0 or the blocks are more than 1 GiB), or -ENOMEM.
 */
int hak_ss_prewarm_class(size_t size, size_t count);

/* One size class, in hak_stats_class(). */
struct hak_class_stats {
    size_t block_bytes;   /* size of its blocks */
    size_t span_bytes;    /* memory of its spans */
    size_t live_blocks;   /* handed to the program */
    size_t cached_blocks; /* free, in thread caches */
    size_t free_blocks;   /* free, in spans */
};

/* The process's allocator, in bytes unless the name says otherwise. Read without locks: figures
 * that may be a moment old. */
struct hak_stats {
    size_t leased_bytes;         /* SuperSlabs leased by the daemon, mapped now */
    size_t leased_peak_bytes;    /* the most there ever were */
    size_t private_bytes;        /* SuperSlabs of anonymous memory, mapped now */
    size_t private_peak_bytes;   /* the most there ever were */
    size_t free_superslab_bytes; /* of both: SuperSlabs without any block (IDLE, or reclaimed) */
    size_t small_live_bytes;     /* blocks of the size classes, live */
    size_t small_cached_bytes;   /* the same, free in thread caches */
    size_t small_span_bytes;     /* memory of their spans */
    size_t large_bytes;          /* runs of 64 KiB units, live */
    size_t huge_bytes;           /* whole SuperSlabs, live */
    uint64_t leases;             /* extents received from the daemon */
    uint64_t fallbacks;          /* a lease was wanted, private memory was taken */
    uint64_t refills;            /* thread cache <- spans */
    uint64_t flushes;            /* thread cache -> spans */
    uint64_t syscalls; /* mmap, munmap, madvise, mprotect, send, receive made by the library */
    uint64_t forks;
    uint64_t n_classes;    /* for hak_stats_class() */
    uint64_t purged_bytes; /* pages given back to the host although their SuperSlab was in use */
};

/* Fills *stats. `size` is sizeof(*stats) as the caller knows it; no more than that is written. 0,
 * or -EINVAL. */
int hak_stats(struct hak_stats *stats, size_t size);

/* Fills *stats for class `index` (0 <= index < n_classes). 0, or -EINVAL. */
int hak_stats_class(size_t index, struct hak_class_stats *stats);

/*
 * Gives back what the process does not need: the calling thread's cache, empty spans, pages that
 * hold no block, empty private SuperSlabs, extents that the daemon has reclaimed. Leaves up to
 * `keep_bytes` of empty private SuperSlabs. Returns the bytes given back.
 */
size_t hak_trim(size_t keep_bytes);

#ifdef __cplusplus
}
#endif

#endif
