/*
 * Extents and their SuperSlabs as mappings and ledger states: the steps that source.c decides on.
 *
 * The one place in the library that calls ledger_slab_change(). All calls under source.c's lock.
 */
#ifndef HAKMEM_LIBCLIENT_EXTENTS_H
#define HAKMEM_LIBCLIENT_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

struct link_extent;

/*
 * Maps an extent that has arrived (its descriptor is consumed) and leaves its SuperSlabs IDLE, at
 * `first`, which window_take() gave. False: it could not be mapped or its slots were not EMPTY;
 * nothing is left of it then, nor of its place.
 */
bool extents_map(struct link_extent *arrived, uint32_t first);

/* Unmaps a whole extent, its slots EMPTY, its indices free. False: the daemon is at work on it, or
 * no memory for that. */
bool extents_unmap(uint32_t first);

/* Marks one SuperSlab as private memory that reads as zero. */
void extents_set_private(uint32_t index);

/*
 * Takes note of what has become of the link. After every call into link.c, before any SuperSlab is
 * taken: the free ones of a connection that has ended are brought out of its daemon's reach.
 */
void extents_sync(void);
/* In a forked child: the parent's ledger is nothing to us. */
void extents_forget_link(void);
/* Is it leased under the connection in force? */
bool extents_is_current(uint32_t index);

/*
 * Free SuperSlabs -> ACTIVE, from the first on, as far as they are to be had; how many. One that
 * the daemon is punching is not, nor, unless `or_cold`, one whose pages are gone.
 */
uint32_t extents_activate(uint32_t first, uint32_t n_slabs, bool or_cold);
/* ACTIVE -> IDLE. */
void extents_deactivate(uint32_t first, uint32_t n_slabs);

enum extents_worth {
    EXTENTS_IN_USE,    /* some of it is not free, or is warm and of use */
    EXTENTS_RECLAIMED, /* free, all of its pages gone */
    EXTENTS_STALE, /* free, and its memory is held twice (copied at a fork) or by nobody else (an
                      earlier daemon's) */
};
enum extents_worth extents_worth(uint32_t first);

/*
 * At fork: pins the slots of the extent's SuperSlabs from `index` on, as far as they are mapped
 * shared, and makes them private copies on write. How many. The descriptor is closed when none is
 * left to convert and no original is to be given back.
 */
uint32_t extents_convert(uint32_t index);

/*
 * In a forked child, of a SuperSlab that is leased all the same, as it could not be copied: out of
 * reach, so that the child stops at its first touch. A free one is given memory. Traps if it is
 * shared with the parent and cannot be made so.
 */
void extents_withhold(uint32_t index);

#endif
