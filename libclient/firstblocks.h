/*
 * The first blocks: the first few of each class that the first thread of a process takes. They lie
 * one behind the other, whatever their classes, in one run of units, between red zones.
 *
 * Side by side, because a span for each class costs a small program more than all that it does with
 * the heap: pages of which a few bytes are used, each brought in, and each touched for the first
 * time. Here the blocks of a dozen classes share a page, and a class gets a span when it turns out
 * to need more than these.
 *
 * Between red zones, because what a small program does wrong it does to these blocks. What is
 * written past their ends, before their starts or after they were freed is seen, without a setting
 * and without a step in the fast paths: malloc of a class that has no block in the thread's cache
 * takes the slow path anyway, and the run's units have a class of their own in the unit map,
 * CLASS_FIRST, of which no free() is fast.
 *
 * A block is given out once. While the process lives nobody may touch, and it is looked at:
 *
 *   red zones      FIRSTBLOCKS_RED_BYTES at least on either side of a block, whose ends hold a
 *                  pattern
 *   slack          from the end of what was asked for to the block's, the same pattern;
 *                  malloc_usable_size() lends it to the program, and it is looked at no more
 *   freed blocks   cleared
 *
 * at each request that is served here and each free of a first block (the last few blocks), when
 * the block is freed and when its class is let go (that one, those), and at exit (all). So the few
 * blocks of a small program are looked at whenever it does anything with the heap.
 *
 * No right program is ever stopped. Only the first thread looks at slack, which another may rightly
 * write to; once that has come to the heap, slack is not looked at any more, and no further block
 * is taken from here (firstblocks_stop()).
 *
 * Entries are written by the first thread, and constant once they are counted in, but for the size
 * and the state of a block, which whoever has the block changes. There is no lock.
 *
 * Place in the life of a SuperSlab: carved, of the first one, which is private.
 */
#ifndef HAKMEM_LIBCLIENT_FIRSTBLOCKS_H
#define HAKMEM_LIBCLIENT_FIRSTBLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libclient/sizeclass.h"

#define FIRSTBLOCKS_RED_BYTES  64u
#define FIRSTBLOCKS_LAST_CLASS 48u /* larger ones are no neighbours */

/* None is taken from here on, and no slack looked at. Any thread. */
void firstblocks_stop(void);

/* One of the first blocks of a class, at a multiple of `alignment` (a power of two, which the
 * class's size is a multiple of), for n_bytes. NULL: they have been taken. For the thread that owns
 * the first cache. Aborts on misuse. */
void *firstblocks_take(unsigned class, size_t n_bytes, size_t alignment);

/* Brings in the memory for all of them. Likewise. */
void firstblocks_prewarm(void);

/*
 * Of a pointer into units of CLASS_FIRST: the class of the live block that begins there. Aborts if
 * none does.
 */
unsigned firstblocks_class(const void *block);
/* Frees the block. `is_own`: by the thread that takes. Returns its class; aborts on misuse. */
unsigned firstblocks_give(void *block, bool is_own);
/* The program has resized the live block in place to n_bytes, or was lent its slack. */
void firstblocks_resize(const void *block, size_t n_bytes);
/* Where the block begins that `inside` points into; if into none, `inside`. */
void *firstblocks_start(const void *inside);

/* Blocks of a class that are live, and that were ever given out here. Relaxed: figures. */
unsigned firstblocks_n_live(unsigned class);
unsigned firstblocks_n_taken(unsigned class);

/* Looks at all. For the thread that takes. Aborts on misuse. */
void firstblocks_check_all(void);

#endif
