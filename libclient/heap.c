/* See heap.h. */
#include "libclient/heap.h"

#include <errno.h>
#include <string.h>

#include "common/check.h"
#include "libclient/cache.h"
#include "libclient/firstblocks.h"
#include "libclient/firstlarge.h"
#include "libclient/firstregion.h"
#include "libclient/glue.h"
#include "libclient/huge.h"
#include "libclient/large.h"
#include "libclient/lastresort.h"
#include "libclient/lock.h"
#include "libclient/misuse.h"
#include "libclient/next.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/span.h"
#include "libclient/tables.h"
#include "libclient/tails.h"

/* None is 0: `state` then is in the page of initialised data, which every process has. At its end a
 * program asks for it that never allocated; it need not touch a page for the answer. */
enum heap_state { HEAP_UNBORN = 1, HEAP_READY, HEAP_FAILED };

/* A large block that shrinks to more than this stays in its unit. */
#define STAYS_LARGE_BYTES (UNIT_BYTES / 4)

static uint32_t state = HEAP_UNBORN;
static struct lock init_lock;

/* The variables that all of the following writes to, up to the first arena's bins: a few pages in a
 * row. */
static void bring_in_variables(void)
{
    char *end = (char *)(span_bin(0, N_SMALL) + 1);
    if (tables_begin && end > tables_begin)
        glue_populate_pages(tables_begin, (size_t)(end - tables_begin));
}

static enum heap_state initialise(void)
{
    bring_in_variables();
    sizeclass_init();
    if (!window_init() || !source_init())
        return HEAP_FAILED;
    runs_init();
    span_init();
    cache_init(glue_n_processors());
    return HEAP_READY;
}

bool heap_is_ready(void)
{
    /* Pairs with the release below: what initialise() wrote is visible. */
    uint32_t now = atomic_load_acquire(&state);
    if (check_unlikely(now == HEAP_UNBORN)) {
        int saved_errno = errno; /* a reservation that fails is tried again, smaller */
        lock_acquire(&init_lock);
        now = atomic_load_relaxed(&state); /* under the lock */
        if (now == HEAP_UNBORN) {
            now = initialise();
            atomic_store_release(&state, now);
        }
        lock_release(&init_lock);
        errno = saved_errno;
    }
    return now == HEAP_READY;
}

bool heap_is_set_up(void)
{
    /* Pairs with the release in heap_is_ready(). */
    return atomic_load_acquire(&state) == HEAP_READY;
}

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

/* The small class for a request, or CLASS_NONE: it takes a large block, or a huge one. */
static unsigned small_class(size_t n_bytes, size_t alignment)
{
    if (n_bytes > SMALL_MAX_BYTES || (n_bytes > FEW_MAX_BYTES && !firstregion_is_outgrown()))
        return CLASS_NONE;
    return alignment <= 16 ? sizeclass_of(n_bytes) : sizeclass_of_aligned(n_bytes, alignment);
}

/* The first one of a program that is small as yet is set apart, unless it is one that grows. */
static void *allocate_large(size_t n_bytes, size_t alignment, bool grows, bool *zero)
{
    void *block = NULL;
    if (alignment <= 16 && !grows && settings.watch && !firstregion_is_outgrown())
        block = firstlarge_allocate(n_bytes);
    *zero = block != NULL;
    return block ? block : large_allocate(n_bytes, alignment, zero);
}

static void *allocate(size_t n_bytes, size_t alignment, bool grows, bool *zero)
{
    size_t n_asked = n_bytes;
    if (n_bytes == 0)
        n_bytes = 1; /* a block of its own, at whatever alignment */
    unsigned class = small_class(n_bytes, alignment);
    if (class != CLASS_NONE)
        return cache_take_slow(class, n_asked, alignment);
    if (n_bytes <= LARGE_MAX_BYTES && alignment <= LARGE_MAX_BYTES)
        return allocate_large(n_bytes, alignment, grows, zero);
    void *block = huge_allocate(n_bytes, alignment, grows, zero);
    if (block && *zero && !grows)
        tails_give_back(block, n_bytes);
    return block;
}

void *heap_allocate(size_t n_bytes, size_t alignment, bool grows, bool *zero)
{
    *zero = false;
    if (n_bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX / 2)
        return out_of_memory();
    int saved_errno = errno;
    void *block = heap_is_ready() ? allocate(n_bytes, alignment, grows, zero) : NULL;
    if (check_unlikely(!block)) {
        *zero = false;
        block = lastresort_allocate(n_bytes, alignment, false);
    }
    if (!block)
        return out_of_memory();
    errno = saved_errno;
    return block;
}

static void *allocate_huge_zeroed(size_t n_bytes)
{
    if (n_bytes > PTRDIFF_MAX)
        return out_of_memory();
    int saved_errno = errno;
    bool is_new = false;
    void *block = heap_is_ready() ? huge_allocate_zeroed(n_bytes, &is_new) : NULL;
    if (block && is_new)
        tails_give_back(block, n_bytes);
    if (!block)
        block = lastresort_allocate(n_bytes, 16, true);
    if (!block)
        return out_of_memory();
    errno = saved_errno;
    return block;
}

void *heap_allocate_zeroed(size_t n_bytes)
{
    bool zero;
    if (n_bytes > LARGE_MAX_BYTES)
        return allocate_huge_zeroed(n_bytes);
    void *block = heap_allocate(n_bytes, 16, false, &zero);
    if (block && !zero)
        memset(block, 0, n_bytes);
    return block;
}

static bool is_in_window(const void *pointer)
{
    return window_contains(pointer) && !window_has_given_up(pointer);
}

/* A pointer that is in no live unit of ours. */
static void free_foreign(void *block)
{
    if (is_in_window(block))
        misuse_abort(MISUSE_NOT_LIVE, block);
    if (lastresort_free(block) || (settings.foreign_next && next_free(block)))
        return;
    misuse_abort(MISUSE_FOREIGN, block);
}

static bool usable_of_foreign(const void *block, size_t *n_bytes)
{
    return !is_in_window(block) && (lastresort_usable(block, n_bytes) ||
                                    (settings.foreign_next && next_usable(block, n_bytes)));
}

void heap_free(void *block)
{
    int saved_errno = errno;
    if (!block)
        return;
    unsigned class = window_class(block);
    if (class == CLASS_NONE && firstlarge_contains(block))
        firstlarge_free(block);
    else if (class == CLASS_NONE)
        free_foreign(block);
    else if (class == CLASS_LARGE)
        large_free(block);
    else if (class == CLASS_HUGE)
        huge_free(block);
    else if (class == CLASS_FIRST)
        cache_give_first(block);
    else
        cache_give_slow(class, block);
    errno = saved_errno;
}

static size_t usable_of(const void *block)
{
    size_t n_bytes;
    unsigned class = window_class(block);
    switch (class) {
    case CLASS_NONE:
        if (firstlarge_contains(block))
            return firstlarge_usable(block);
        if (usable_of_foreign(block, &n_bytes))
            return n_bytes;
        misuse_abort(is_in_window(block) ? MISUSE_NOT_LIVE : MISUSE_FOREIGN, block);
    case CLASS_LARGE:
        return large_usable(block);
    case CLASS_HUGE:
        return huge_usable(block);
    case CLASS_FIRST:
        return sizeclasses[firstblocks_class(block)].block_bytes;
    default:
        span_check_block(block, class);
        return sizeclasses[class].block_bytes;
    }
}

size_t heap_usable(const void *block)
{
    size_t n_bytes = usable_of(block);
    if (window_class(block) == CLASS_FIRST)
        cache_resize_first(block, n_bytes); /* it may be used, then */
    return n_bytes;
}

/* A large block in its run, a huge one in its SuperSlabs or by moving pages. NULL: it takes a copy.
 */
static void *resize_in_kind(void *block, unsigned class, size_t n_bytes)
{
    if (class == CLASS_HUGE)
        return n_bytes > LARGE_MAX_BYTES ? huge_resize(block, n_bytes) : NULL;
    if (class == CLASS_LARGE && n_bytes > STAYS_LARGE_BYTES && n_bytes <= LARGE_MAX_BYTES)
        return large_resize(block, n_bytes) ? block : NULL;
    return NULL;
}

/*
 * How much to ask for when a block has to move. One that wants less than a class more than it has
 * is being appended to, and would move, and be copied, eight times while it doubles: it gets a
 * quarter more, and moves three times.
 */
static size_t room_for_growth(size_t n_bytes, size_t usable)
{
    bool creeps = n_bytes > usable && n_bytes - usable <= usable / 8;
    return creeps && n_bytes <= LARGE_MAX_BYTES / 2 ? n_bytes + n_bytes / 4 : n_bytes;
}

static void *allocate_to_move(size_t n_bytes, size_t usable)
{
    bool zero;
    int saved_errno = errno;
    size_t n_asked = room_for_growth(n_bytes, usable);
    void *there = cache_take(n_asked);
    if (!there)
        there = heap_allocate(n_asked, 16, n_bytes > usable, &zero);
    if (there || n_asked == n_bytes)
        return there;
    /* Not for the room is a block refused that would fit without. */
    there = heap_allocate(n_bytes, 16, true, &zero);
    if (there)
        errno = saved_errno;
    return there;
}

static void *resize_by_copy(void *block, size_t n_bytes, size_t usable)
{
    void *there = allocate_to_move(n_bytes, usable);
    if (!there)
        return NULL;
    memcpy(there, block, usable < n_bytes ? usable : n_bytes);
    if (!cache_give(block))
        heap_free(block);
    return there;
}

/* Of a small block: one that is less than twice too large stays. */
static bool stays(unsigned class, size_t n_bytes)
{
    size_t usable = sizeclasses[class].block_bytes;
    return n_bytes <= usable && n_bytes > usable / 2;
}

static void *resize_first(void *block, size_t n_bytes)
{
    unsigned class = firstblocks_class(block);
    if (!stays(class, n_bytes))
        return resize_by_copy(block, n_bytes, sizeclasses[class].block_bytes);
    cache_resize_first(block, n_bytes);
    return block;
}

static void *resize_small(void *block, unsigned class, size_t n_bytes)
{
    span_check_block(block, class);
    return check_likely(stays(class, n_bytes))
               ? block
               : resize_by_copy(block, n_bytes, sizeclasses[class].block_bytes);
}

/* Of whatever the fast path's map does not call small. Apart, so that the rest needs no room for
 * what this does. */
static __attribute__((noinline)) void *resize_other(void *block, size_t n_bytes)
{
    unsigned class = window_class(block);
    if (sizeclass_is_small(class))
        return resize_small(block, class, n_bytes);
    if (class == CLASS_FIRST)
        return resize_first(block, n_bytes);
    size_t usable = usable_of(block);
    int saved_errno = errno;
    void *there = class != CLASS_NONE ? resize_in_kind(block, class, n_bytes) : NULL;
    errno = saved_errno; /* a hint that the kernel refused, say */
    return there ? there : resize_by_copy(block, n_bytes, usable);
}

void *heap_resize(void *block, size_t n_bytes)
{
    unsigned class = window_fast_class(block);
    return check_likely(sizeclass_is_small(class)) ? resize_small(block, class, n_bytes)
                                                   : resize_other(block, n_bytes);
}

void *heap_block_start(const void *inside)
{
    unsigned class = window_class(inside);
    if (class == CLASS_NONE)
        return NULL;
    uint32_t index = window_index(inside);
    char *slab = window_address(index);
    if (class == CLASS_HUGE)
        return slab;
    char *run = slab + window_slab(index)->first_unit[window_unit(inside)] * UNIT_BYTES;
    if (class == CLASS_LARGE)
        return run;
    if (class == CLASS_FIRST)
        return firstblocks_start(inside);
    size_t offset = (size_t)((const char *)inside - run);
    return run + (size_t)sizeclass_block_index(class, offset) * sizeclasses[class].block_bytes;
}
