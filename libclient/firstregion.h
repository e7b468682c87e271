/*
 * The first region: the SuperSlabs with small pages in which every program begins.
 *
 * A small page costs a fault, or its part of a system call, and a huge page all of its 2 MiB. So a
 * program that needs little stays in small pages, however many size classes it spreads that over:
 * what counts is how much it has touched, not how many units it has taken. Once that is enough the
 * program has grown; from then on it gets huge pages, and of the first region only what had been in
 * use before.
 *
 * Large blocks go to huge pages sooner: most of their pages will be touched. But a few of them do
 * not mean that the program has grown, and of a wide one, a buffer for the largest case, a program
 * that is small as yet may well touch little.
 *
 * Place in the life of a SuperSlab: carved. Everything here is under runs.c's lock unless it says
 * otherwise.
 */
#ifndef HAKMEM_LIBCLIENT_FIRSTREGION_H
#define HAKMEM_LIBCLIENT_FIRSTREGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/window.h"

/* Has the program ever outgrown it, or is it about to? A hint, without a lock. */
bool firstregion_is_outgrown(void);
void firstregion_outgrow(void);
/* The same, of a program that says so, and has memory ready: not even first spans go there. */
void firstregion_leave(void);

/* From so many units on a large block is wide. */
#define FIRSTREGION_WIDE_UNITS 4u

/* What the first blocks have touched stands in the span entry of their run's first unit, as
 * n_carved, in steps of so much. */
#define FIRSTREGION_STEP_BYTES ((size_t)16)

/* How much of a program's memory is in use, as far as it lies in runs. */
struct firstregion_use {
    size_t touched_bytes;
    /* In the first region, and the block that is beside it instead. */
    unsigned n_large_units; /* of blocks that are not wide */
    unsigned n_wide_units;
};
/* Before any SuperSlab; then adds one that is carved. */
struct firstregion_use firstregion_no_use(void);
void firstregion_add_use(struct firstregion_use *use, const struct superslab *slab);
/* Has little been touched as yet? */
bool firstregion_is_sparse(const struct firstregion_use *use);

/* Is it for such a request even in a program that has outgrown it: for the first span of a class of
 * larger blocks, of which little may ever be touched, while the heap is small, n_carved
 * SuperSlabs? */
bool firstregion_suits(unsigned class, bool grows, uint32_t n_carved);
/* May one more SuperSlab belong to it? One more does. And for such a request of a program that has
 * not outgrown it? */
bool firstregion_has_room(void);
bool firstregion_may_extend(unsigned n_units, unsigned class, const struct firstregion_use *use);
void firstregion_extend(void);

/*
 * The free units of one of its SuperSlabs that such a run may take. `grows`: the request shows that
 * the program grows, as a second span of a class does, or a large block; only then `use` counts. Of
 * a region that was left, what had been in use before.
 */
uint32_t firstregion_eligible_units(const struct superslab *slab, unsigned n_units, unsigned class,
                                    bool grows, const struct firstregion_use *use);

#endif
