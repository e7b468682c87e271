/*
 * The free SuperSlabs: which of the window's have memory and no block.
 *
 *   warm   pages there: leased ones are IDLE in the ledger (the daemon may take their pages at any
 * moment)
 *   cold   pages gone: reclaimed by the daemon, or private and purged; most read as zero
 *   sparse pages gone, private and in small pages (sparse.h); they read as zero
 *
 * An index is in at most one of the three, and then its kind is SUPERSLAB_FREE. Of the warm ones
 * those are used as well that have been handed out before, so that the program has touched them, or
 * that cost nothing until it does. All under source.c's lock.
 *
 * Place in the life of a SuperSlab: emptied -> warm; found RECLAIMED -> cold; taken again.
 */
#ifndef HAKMEM_LIBCLIENT_FREESLABS_H
#define HAKMEM_LIBCLIENT_FREESLABS_H

#include <stdbool.h>
#include <stdint.h>

#include "libclient/window.h"

struct freeslabs {
    /*
     * Signed: a fork in a signal handler may shift one from leased to private between a bit's
     * change and its count's. They steer, nothing is lost by one too many.
     */
    int32_t n_warm_leased, n_warm_private, n_cold, n_sparse;
    uint64_t warm[BITMAP_WORDS(WINDOW_MAX_SLABS)];
    uint64_t used[BITMAP_WORDS(WINDOW_MAX_SLABS)]; /* part of the warm ones */
    uint64_t cold[BITMAP_WORDS(WINDOW_MAX_SLABS)];
    uint64_t sparse[BITMAP_WORDS(WINDOW_MAX_SLABS)];
};

/* To be read by source.c; changed by the functions below, and by the fork that makes leased ones
 * private. */
extern struct freeslabs freeslabs __attribute__((visibility("hidden")));

enum freeslabs_set { FREESLABS_WARM, FREESLABS_USED, FREESLABS_COLD, FREESLABS_SPARSE };

void freeslabs_put_warm(uint32_t index);
/* The same for those that the program gives back now, in seconds of the clock: there is anything
 * in them. */
void freeslabs_put_used(uint32_t first, uint32_t n_slabs, uint32_t now_s);
void freeslabs_put_cold(uint32_t index);
void freeslabs_put_sparse(uint32_t index);
/* Free SuperSlabs of all sets. */
int32_t freeslabs_count(void);
/* Out of whichever set it is in, if any. */
void freeslabs_remove(uint32_t index);

/*
 * Takes n in a row out of one set, at a multiple of `align`: ACTIVE, kind NONE. *zero: they read as
 * zero. A warm one whose pages turn out to be gone moves to the cold ones, and the search goes on;
 * a cold one that the daemon is at work on right now is passed over. False: there are not that
 * many.
 */
bool freeslabs_take(enum freeslabs_set which, uint32_t n_slabs, uint32_t align, uint32_t *first,
                    bool *zero);

/* The same, of those only that lie where blocks may grow. */
bool freeslabs_take_apart(enum freeslabs_set which, uint32_t n_slabs, uint32_t align,
                          uint32_t *first, bool *zero);

/* How many of the n from `first` on are free private memory, without a gap; and taking these,
 * sparse ones as they are. */
uint32_t freeslabs_count_private(uint32_t first, uint32_t n_slabs);
void freeslabs_take_private(uint32_t first, uint32_t n_slabs);

#endif
