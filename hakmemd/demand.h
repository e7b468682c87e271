/*
 * The demand for stock, and what stock it calls for.
 * How much: half as much again as the busiest second of late has taken. That fades by a 32nd a
 * second: a burst that comes again within ten seconds finds all it needs, and an idle host forgets.
 * Which sizes, and on which node: as they were asked for.
 *
 * What a user's own recycled memory served comes back and serves again: it calls for room on the
 * shelves, and is in `peak_bytes`; but nothing need be made for it, and `fresh_peak_bytes` is
 * without it.
 *
 * Figures alone: no lists, no clock. Loop thread only.
 */
#ifndef HAKMEMD_DEMAND_H
#define HAKMEMD_DEMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "common/superslab.h"
#include "hakmemd/topology.h"

#define DEMAND_N_ORDERS (EXTENT_MAX_ORDER + 1)

struct demand {
    uint64_t second_bytes; /* taken in this second */
    uint64_t peak_bytes;   /* what the busiest one calls for, faded */
    uint64_t rate_bytes;   /* per second, averaged */
    uint64_t fresh_second_bytes;
    uint64_t fresh_peak_bytes;
    uint64_t bytes[TOPOLOGY_MAX_NODES][DEMAND_N_ORDERS]; /* fresh */
};

/* n_bytes of fresh stock were taken, or would have been if there had been some, for want of an
 * extent of `order` on `node`. */
void demand_note(struct demand *demand, unsigned node, unsigned order, uint64_t n_bytes);
/* n_bytes were taken off a user's own shelf. */
void demand_note_recycled(struct demand *demand, uint64_t n_bytes);
/* So much is to be there. */
void demand_ask(struct demand *demand, uint64_t n_bytes);
/* A second is over. */
void demand_fade(struct demand *demand);
/* Forgets how much, and which; not the rate, which is a figure to show. */
void demand_forget(struct demand *demand);
/* Is there nothing left to fade? */
bool demand_is_over(const struct demand *demand);

/*
 * Extents wanted of each order on each of `n_nodes`: `base` bytes, which are split over all of
 * them, and `spare` more, which follow demand. What does not make a whole extent of one order goes
 * to the next smaller, so that the sum is base + spare, rounded up to a SuperSlab on each node.
 */
void demand_plan(const struct demand *demand, unsigned n_nodes, uint64_t base, uint64_t spare,
                 uint64_t n_wanted[TOPOLOGY_MAX_NODES][DEMAND_N_ORDERS]);

#endif
