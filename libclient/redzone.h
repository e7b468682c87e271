/*
 * Watched blocks: the first few of each class that the first thread of a process takes. They lie
 * between red zones, so that what is written past their ends, before their starts or after they
 * were freed is seen, without a setting and without a step in the fast paths.
 *
 * A class is new, then watched, then let go for good, at the request that follows its last watched
 * block. While it is watched its stack in the thread cache is empty and has no room, so that each
 * malloc and free of it comes through the slow paths and through here. There are a handful of
 * these; then all that was kept back goes to the cache and nothing of this is left.
 *
 * What is kept back meanwhile, nobody may touch, and it is looked at:
 *
 *   red zones      blocks of the class, REDZONE_BYTES at least on either side of a watched block,
 * whose ends hold a pattern slack          from the end of what was asked for to the block's, the
 * same pattern; malloc_usable_size() lends it to the program, and it is looked at no more freed
 * blocks   cleared, and not given out again while the class is watched
 *
 * at each request and free of a watched class (the last few blocks), when the block is freed and
 * when its class is let go (that one, those), and at exit (all). So the few blocks of a small
 * program are looked at whenever it does anything with the heap.
 *
 * No right program is ever stopped. Only the first thread looks, and only at what it keeps back and
 * at the slack of its blocks; once another thread has come to the heap, which may free and take
 * anew what is on record here, slack is not looked at any more (redzone_stop()).
 *
 * Place in the life of a SuperSlab: carved; blocks kept back between span and thread cache. All
 * functions but redzone_stop() are for the thread that owns the first cache.
 */
#ifndef HAKMEM_LIBCLIENT_REDZONE_H
#define HAKMEM_LIBCLIENT_REDZONE_H

#include <stdbool.h>
#include <stddef.h>

#include "libclient/sizeclass.h"

#define REDZONE_BYTES      64u
#define REDZONE_MAX_BLOCKS 24u /* of one class, watched ones and red zones together */
/* Larger blocks are not watched: red zones beside them would be in pages of their own. */
#define REDZONE_LAST_CLASS 48u

/* No class is watched from here on; those that are will be let go. Any thread. */
void redzone_stop(void);

/* Blocks that it takes to watch this class; 0: it is not new, or not to be watched. */
unsigned redzone_wants(unsigned class);
/* Watches it from here on. `blocks` is consumed, in any order; false: they do not lie side by side,
 * or not in private memory, the class is let go, and they are still the caller's. */
bool redzone_open(unsigned class, void *const *blocks, unsigned n);

/* A watched block, or NULL: let the class go. */
void *redzone_take(unsigned class, size_t n_bytes);
/* Keeps a freed block. False: it is none of those on record here. Aborts on misuse. */
bool redzone_give(unsigned class, void *block);
/* The program has resized a block in place to n_bytes. */
void redzone_resize(unsigned class, const void *block, size_t n_bytes);
/* Blocks kept back. */
unsigned redzone_n_kept(unsigned class);

/*
 * Lets the class go: what was kept back into blocks[0..], at most REDZONE_MAX_BLOCKS, what was
 * freed first; n_taken gets the number of blocks that redzone_open() consumed. 0 if the class was
 * not watched. Aborts on misuse.
 */
unsigned redzone_close(unsigned class, void **blocks, unsigned *n_taken);

/* Looks at all that is watched. Aborts on misuse. */
void redzone_check_all(void);

#endif
