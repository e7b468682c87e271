/*
 * Runs: consecutive 64 KiB units inside SuperSlabs, for spans and for large blocks.
 *
 * Best fit: SuperSlabs with free units are listed by their longest free run, and the shortest that
 * fits serves, so that others stay whole and can empty. One lock of runs.c's own; callers hold no
 * other.
 *
 * Place in the life of a SuperSlab: carved; emptied (its last unit comes home) -> source_release().
 */
#ifndef HAKMEM_LIBCLIENT_RUNS_H
#define HAKMEM_LIBCLIENT_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/window.h"

/*
 * n_units (1..32) at a multiple of align_units (a power of two, at most 32), marked `class` in the
 * unit map. `grows`: more of the kind is in use already, see firstregion.h. *zero:
 * they read as zero. NULL: out of memory.
 */
void *runs_allocate(unsigned n_units, unsigned align_units, unsigned class, bool grows, bool *zero);
/* Frees a whole run. */
void runs_free(void *run, unsigned n_units);
/* Grows or shrinks a run in place. False: the units behind it are not free. */
bool runs_resize(void *run, unsigned n_old, unsigned n_new, unsigned class);

/* Is it in a SuperSlab of small pages? See firstregion.h. */
bool runs_is_in_first_region(const void *run);

/* SuperSlabs carved, in bytes, and of them what is in large blocks. Relaxed: figures that steer. */
uint64_t runs_carved_bytes(void);
uint64_t runs_large_bytes(void);

/*
 * For purge.c, which gives back the pages of units that stay free. It holds a lock, so it must not
 * wait for this one: while another thread has it, nothing is done.
 */
struct runs_look {
    uint32_t ripe;   /* free units with pages that were so at the last look; at once: that are so */
    uint32_t starts; /* units at which a run in use begins */
    bool is_split;   /* no huge page can be lost by purging */
};
/* Looks at one SuperSlab. The next look tells what has been free since this one. False: it is not
 * carved into units, or not now. */
bool runs_look(uint32_t index, bool at_once, struct runs_look *look);
/* *index becomes the first carved SuperSlab from there on, or BITMAP_NONE. False: not now. */
bool runs_next_carved(uint32_t *index);
/*
 * Parts of the SuperSlab are to go: of spans, and those of `units` that are still idle, which this
 * does. purge() makes pages of that SuperSlab read as zero, or returns false. False: not carved, or
 * not now.
 */
typedef bool runs_purge_function(void *at, size_t n_bytes, const struct superslab *slab);
bool runs_purge(uint32_t index, uint32_t units, runs_purge_function *purge);

struct lock;
struct lock *runs_lock(void);
void runs_init(void);

#ifdef HAKMEM_DEBUG
bool runs_are_valid(void);
#endif

#endif
