/*
 * The source of SuperSlabs: leased by hakmemd while that works, private memory else.
 *
 * It decides where a SuperSlab comes from; leases.c and private.c bring them in and give them back,
 * extents.c maps, freeslabs.c knows which are free.
 *
 * A SuperSlab that is wanted comes from the warm ones, else from the daemon, else from the cold
 * ones, else from fresh private memory. Everything here runs under one lock of source.c's own;
 * callers hold no other.
 *
 * Place in the life of a SuperSlab: leased -> mapped; emptied -> IDLE; RECLAIMED -> taken again or
 * returned.
 */
#ifndef HAKMEM_LIBCLIENT_SOURCE_H
#define HAKMEM_LIBCLIENT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_stats {
    size_t leased_bytes, leased_peak_bytes;
    size_t private_bytes, private_peak_bytes;
    size_t free_bytes;
    uint64_t leases;
    uint64_t fallbacks;
};

/* Maps the first, private SuperSlab (index 0) as a warm one. False: no memory. Once, after
 * window_init(). */
bool source_init(void);

enum source_want {
    SOURCE_FOR_UNITS,  /* one SuperSlab to carve */
    SOURCE_FOR_HUGE,   /* a huge block: leased if the daemon can give that many in a row */
    SOURCE_FOR_SPARSE, /* a sparse block (sparse.h): private memory in small pages that reads as
                          zero, or, if there is none, as for a huge block */
    SOURCE_FOR_GROWTH, /* a huge block that realloc() grows: private, with room behind it, to be
                          moved without copying */
};

/*
 * n consecutive SuperSlabs at a multiple of `align` SuperSlabs, usable, kind NONE for the caller to
 * set. *zero: they read as zero. False: out of memory.
 */
bool source_acquire(enum source_want want, uint32_t n_slabs, uint32_t align, uint32_t *first,
                    bool *zero);
/*
 * One SuperSlab to carve, for a program that touches little: a warm one, a leased one, or else
 * private memory in small pages, *is_small. `unshared`: of small pages rather than one that it
 * would be the first to touch. False: out of memory.
 */
bool source_acquire_few(bool unshared, uint32_t *index, bool *zero, bool *is_small);
/* Gives them back; no system call but what ageing brings. The caller has cleared their entries in
 * the unit map. */
void source_release(uint32_t first, uint32_t n_slabs);

/* The same for sparse SuperSlabs that the caller has made read as zero. */
void source_release_sparse(uint32_t first, uint32_t n_slabs);

/* Adds SuperSlabs right behind [first, first + n_old), up to n_new in all. False: the place is
 * taken, nothing changed. */
bool source_extend(uint32_t first, uint32_t n_old, uint32_t n_new);
/* Moves a run of private SuperSlabs to a larger one by moving pages: *first_new has n_new. False:
 * not all private. */
bool source_move(uint32_t first, uint32_t n_old, uint32_t n_new, uint32_t *first_new);

/* At slow paths, often: gives back what is empty, and originals of earlier forks, once a second,
 * and looks around as every other call here does. Needs no lock, and waits for none. */
void source_tick(void);

/* Brings in n SuperSlabs and leaves them warm. They stay so for SOURCE_KEEP_S, leased ones ACTIVE
 * in the ledger, out of the daemon's reach, unless they are used, trimmed, or memory gets short.
 * False: out of memory. */
#define SOURCE_KEEP_S 60u
bool source_prewarm(uint32_t n_slabs);
/* Purges empty private SuperSlabs beyond `keep_bytes` and returns reclaimed extents. Bytes given
 * back. */
size_t source_trim(size_t keep_bytes);

/* Gives up address space, but for so many SuperSlabs beyond those that were ever taken. */
void source_shrink_window(uint32_t n_more);

void source_stats(struct source_stats *stats);
/* Two of them, without the lock. */
uint64_t source_private_bytes(void);
uint64_t source_n_fallbacks(void);

/* A forked child has had none. */
void source_forget_fallbacks(void);

struct lock;
struct lock *source_lock(void);

#endif
