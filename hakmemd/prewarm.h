/*
 * Prewarming: giving an extent its pages before anybody asks for it, if possible as 2 MiB pages.
 * Worker threads.
 *
 * The 2 MiB page is the product: many times cheaper to touch, map and give back than 512 small
 * ones. In the order tried:
 *   1. madvise(MADV_HUGEPAGE), then one byte touched per SuperSlab. Works where shmem_enabled is
 * advise or always.
 *   2. MADV_COLLAPSE of a SuperSlab of which *one* 4 KiB page is there. The kernel makes a 2 MiB
 * page and clears the rest itself, whatever shmem_enabled says. (Of an empty range it refuses; of
 * 512 small pages it would copy them all, at twenty times the cost.)
 *   3. 4 KiB pages, in small steps, so that the address space lock is never held for long.
 * What was achieved is measured from the page tables, not believed from a setting.
 */
#ifndef HAKMEMD_PREWARM_H
#define HAKMEMD_PREWARM_H

#include <stdint.h>

#include "hakmemd/extent.h"
#include "hakmemd/memfd.h"

/* A worker_job run(): gives work.backing pages on node work.binding to all of the extent. Fills
 * work.huge_slabs, n_collapsed, n_misplaced, error. */
void prewarm_run(struct worker_job *job);

/*
 * Has the kernel take what this thread touches from now on from that NUMA node (its kernel's
 * number) if it can; TOPOLOGY_UNBOUND: no change, no system call.
 *
 * The thread's policy rather than the mapping's: mbind(2) of a shared mapping stays with the file,
 * and would also bind what the program touches later, after a reclaim, when its own processor is
 * the better judge. Preferred rather than bound: a node that is full is no reason for an extent to
 * fail. What came of it is measured.
 */
void prewarm_bind(int binding);

/* The same for the SuperSlabs of `slabs` of a mapping; *huge_slabs_out is of these. 0 or a negative
 * errno. */
int prewarm_slabs(const struct memfd_mapping *mapping, uint16_t slabs, enum extent_backing backing,
                  uint16_t *huge_slabs_out, uint32_t *n_collapsed_out);

/* Which SuperSlabs of a mapping are mapped by a 2 MiB page. 0 or a negative errno. */
int prewarm_measure(const struct memfd_mapping *mapping, uint16_t *huge_slabs_out);

#endif
