/*
 * Thread caches: per thread and size class, a stack of free blocks. The whole of malloc and free,
 * nearly always.
 *
 * A stack is an array of pointers, not a list through the blocks: free() does not touch the block,
 * and a program that writes after free cannot corrupt the stack. Below each stack lies a NULL, so
 * that "empty" is seen in the load that fetches the block; above the last slot in use lies a fence,
 * so that "full" is seen in the line that the block is stored to. Classes that are not small have
 * no_stack, which is always empty and always full, and so has every class of cache_none, which
 * threads start (and end) with: no fast path needs a branch for them. The classes of the largest
 * blocks have stacks of no slots.
 *
 * Capacities adapt: a stack's limit doubles when it overflows, as long as the thread's limits stay
 * within a budget of bytes; batches double while refills go on; a stack that sees no refill or
 * flush for a while is halved.
 *
 * The first blocks of the first cache are not from here (firstblocks.h): while a class has none but
 * these, its stack is empty.
 *
 * At first a stack is young: its limit is no higher than what the thread has taken. When all of
 * that is back, and when more is given than was taken, the stack's blocks are looked at for misuse;
 * then it is as any other. So a double or invalid free that comes early is seen at once, at the
 * cost of two slow paths per thread and class.
 *
 * Place in the life of a SuperSlab: carved; blocks between the program and their span.
 */
#ifndef HAKMEM_LIBCLIENT_CACHE_H
#define HAKMEM_LIBCLIENT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/window.h"

/* Up to here a request's class is one byte load away; above, small classes are computed in the slow
 * entry. */
#define CACHE_FAST_MAX_BYTES 4096u

/* In the slot above the last one that may be used. No block is at this address. */
#define CACHE_FENCE ((void *)1)

/* Owned by its thread; nobody else touches it. */
struct cache {
    void **top[N_CLASSES]; /* the last block in the stack, or the NULL below it */
    uint8_t arena;
    bool is_none;  /* the one that holds nothing */
    bool is_first; /* the first one of the process: see firstblocks.h */
    uint8_t class_of_size[CACHE_FAST_MAX_BYTES + 1];
    /* Slow paths only. */
    uint16_t limit[N_SMALL + 1];     /* slots below the fence */
    uint16_t batch[N_SMALL + 1];     /* blocks to ask for at the next refill */
    uint16_t taken[N_SMALL + 1];     /* from spans, while the stack is young */
    uint8_t age[N_SMALL + 1];        /* cache.c: enum age */
    uint16_t published[N_SMALL + 1]; /* of this stack, as counted in cache_cached_blocks() */
    uint8_t is_active[N_SMALL + 1];  /* refilled or flushed since the last visit of the scavenger */
    uint32_t n_events;
    uint32_t scavenge_class;
    uint32_t ready_parts;    /* cache.c: of its memory, what has come in */
    size_t grown_bytes;      /* by which the stacks have grown, in blocks' bytes */
    struct cache *next_free; /* cache.c: free_caches */
    void *stacks[];          /* each class: a NULL, its slots, room for the fence behind them */
};

extern __thread struct cache *cache_own
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* 0, or -1: no memory. Fills the constant tables; once, before any other call. */
void cache_init(unsigned n_arenas);

/* A block of a small class above the fast path's sizes, if one is in the thread's cache, or NULL.
 */
void *cache_take_medium(size_t n_bytes);

/* A block of a small class, for a request of n_bytes / back into the stack, when the fast path
 * could not. `alignment`: the class's size is a multiple of it. NULL: out of memory. */
void *cache_take_slow(unsigned class, size_t n_bytes, size_t alignment);
void cache_give_slow(unsigned class, void *block);

/* Of a block of CLASS_FIRST: frees it; it was resized in place, to n_bytes, or what is behind its
 * end was lent to the program, and that is the whole block's size. Abort on misuse. */
void cache_give_first(void *block);
void cache_resize_first(const void *block, size_t n_bytes);
/* Looks at the first blocks of all, if they are the calling thread's: at exit. Aborts on misuse. */
void cache_check_own(void);

/* From here on every malloc and free of the calling thread, and of threads without a cache as yet,
 * takes the slow path. */
void cache_disable_fast_path(void);

/* Sends all of the calling thread's blocks home. */
void cache_flush_own(void);
/* Fills the calling thread's stack of a class with up to n blocks. False: there are none in it, and
 * could be. */
bool cache_fill(unsigned class, unsigned n);

/* Brings in all of the calling thread's cache, and the memory for the first blocks. */
void cache_prewarm(void);

/* The arena that serves the calling thread. */
unsigned cache_own_arena(void);

/* Blocks of a class in all thread caches, as of their last refills and flushes. */
uint64_t cache_cached_blocks(unsigned class);
uint64_t cache_n_refills(void);
uint64_t cache_n_flushes(void);

struct lock;
struct lock *cache_lock(void);

/*
 * The fast paths. NULL / false: the slow one, please.
 *
 * What has to be there, in instructions (x86-64). malloc() is 11: the thread's cache (2), is the
 * size within range (2), its class, the top, the block there, is it one (2), off the stack, return.
 * free() is 13: the shift, the map, a copy of the address, its unit, the class there; the thread's
 * cache (2), the top, is there a fence above it (2), onto the stack (2), return. compiler_forget()
 * keeps the change of top one instruction on memory; the compiler would keep top in a register,
 * which costs an instruction more.
 */
static inline void *cache_take(size_t n_bytes)
{
    struct cache *cache = cache_own;
    if (check_unlikely(n_bytes > CACHE_FAST_MAX_BYTES))
        return NULL;
    size_t class = cache->class_of_size[n_bytes];
    void *block = *cache->top[class];
    if (check_likely(block)) {
        compiler_forget(class, block);
        check_known(block); /* that much it may remember */
        --cache->top[class];
    }
    return block;
}

static inline bool cache_give(void *block)
{
    size_t class = window_fast.map[(uintptr_t)block >> window_fast.shift];
    struct cache *cache = cache_own;
    void **next = cache->top[class] + 1;
    if (check_unlikely(*next == CACHE_FENCE))
        return false;
    *next = block;
    compiler_forget(class, block);
    ++cache->top[class];
    return true;
}

#endif
