/*
 * Originals: pages of leased memory that have been copied since a fork, and that nobody needs any
 * more.
 *
 * A fork turns leased SuperSlabs into private mappings of their file. A page that this process
 * writes to from then on is copied, and the page that it was copied from stays in the file, for
 * children that may read it. When no such child is left it is given back here: this process has a
 * copy, so that nobody else can want it. docs/fork.md has the argument in full.
 *
 * Only the process that leased an extent, for as long as it knows of every process that was made
 * from it since, does so; `era` in struct superslab tells which extents these are.
 *
 * Place in the life of a SuperSlab: copied at a fork -> its file's pages gone, its slot PINNED all
 * along.
 *
 * Not thread-safe: called under source.c's lock, signals blocked.
 */
#ifndef HAKMEM_LIBCLIENT_ORIGINALS_H
#define HAKMEM_LIBCLIENT_ORIGINALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/window.h"

#define ORIGINALS_NO_ERA 0u

/* Before an extent is mapped: the era to note with its SuperSlabs. From here on a witness sees who
 * is forked. */
uint32_t originals_era(void);

/* These SuperSlabs have become private copies of their extent, whose descriptor is to be kept as
 * long as originals_are_watched(). */
void originals_watch(uint32_t first, uint32_t n_slabs);
/* Of the extent that begins at `first`. */
bool originals_are_watched(uint32_t first);

/* Unmaps what it can do without, if the process has too many mappings. The originals so far then
 * stay for good. False: nothing was unmapped. */
bool originals_give_up_mapping(void);

/* May there be any to give back? A hint, without a lock. */
bool originals_are_any(void);

/* These SuperSlabs are unmapped: their entries mean nothing any more. */
void originals_forget(uint32_t first, uint32_t n_slabs);

/*
 * Has this very process leased the SuperSlab, and not one that it was copied from, by whatever
 * call? Only then are its file's pages this process's to give back. "No" where it cannot be known.
 * Needs no lock of source.c's, but one that keeps the SuperSlab from being converted.
 */
bool originals_is_own(const struct superslab *slab);

enum originals_when {
    ORIGINALS_AT_SLOW_PATH, /* if it is likely to be worth it, and no more than a few milliseconds
                             */
    ORIGINALS_AT_FORK,      /* the same, but nothing is copied to complete a SuperSlab: what waits
                             * for a fork shall not wait for that */
    ORIGINALS_NOW,          /* all there is */
};
void originals_give_back(enum originals_when when);

struct originals_counters {
    uint64_t given_back_bytes;
    uint64_t witnesses_lost; /* the program closed our descriptor, or had too many mappings: those
                                originals stay */
    uint64_t failures;       /* the kernel does not tell what is copied, or does not free it */
};
const struct originals_counters *originals_counters(void);

#endif
