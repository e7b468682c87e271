/* See cache.h. */
#include "libclient/cache.h"

#include <pthread.h>
#include <string.h>

#include "libclient/firstblocks.h"
#include "libclient/glue.h"
#include "libclient/growth.h"
#include "libclient/lock.h"
#include "libclient/probe.h"
#include "libclient/publish.h"
#include "libclient/settings.h"
#include "libclient/span.h"
#include "libclient/tick.h"

/* What one thread's stacks may hold together beyond their first sizes. */
#define BUDGET_BYTES ((size_t)2 << 20)
/* A stack's largest size, in bytes of blocks and in blocks, and where it starts. Of a class whose
 * blocks are larger than that there is no stack: each thread would keep megabytes. */
#define STACK_MAX_BYTES    ((size_t)128 << 10)
#define STACK_MAX_BLOCKS   1024u
#define STACK_FIRST_BYTES  ((size_t)16 << 10)
#define STACK_FIRST_BLOCKS 32u
#define FLUSH_PART_BLOCKS  256u
/* The first refill of a class, in bytes: about a page. */
#define BATCH_FIRST_BYTES 4096u
/* Every so many slow paths the scavenger looks at one class. */
#define SCAVENGE_PERIOD 16u
/* Every so many blocks above the fast path's sizes somebody looks at the clock. */
#define TICK_PERIOD 16u

/*
 * A cache's memory comes in by parts of so much, with a system call each, which takes no longer
 * than the faults for its pages. Classes that are next to each other are used together.
 */
#define PART_BYTES ((size_t)8 << 10)

/* Always empty, always full: of a class that is not small, or not used by the thread as yet, so
 * that a cache's pages are touched as its classes come to be used. */
static void *no_stack[2] = {NULL, CACHE_FENCE};

/*
 * Every size is of CLASS_NONE here, so malloc() gets nothing, and every class has no_stack, so
 * free() leaves nothing. Constant, and so in pages that the loader need not make this process's
 * own.
 */
static const struct cache cache_none = {.top = {[0 ... N_CLASSES - 1] = no_stack}, .is_none = true};

__thread struct cache *cache_own __attribute__((tls_model("initial-exec"))) =
    (struct cache *)&cache_none;

/* The thread's destructors have run: it gets no cache any more. */
static __thread bool has_ended __attribute__((tls_model("initial-exec")));

/* Constant after cache_init(). */
static uint16_t stack_blocks[N_SMALL + 1]; /* the largest size */
static uint16_t stack_first[N_SMALL + 1];  /* the size to start with */
static uint32_t stack_place[N_SMALL + 1];  /* index of its NULL in stacks[], while it is small */
static uint32_t stack_place_large[N_SMALL + 1]; /* and once it has grown */
static size_t cache_bytes;
static unsigned n_arenas;
static bool fast_path = true;

static struct lock lock; /* guards free_caches, next_arena, n_begun, key */
static struct cache *free_caches;
static unsigned next_arena;
static bool has_begun; /* a thread has got a cache */
static bool have_key;
static pthread_key_t key;

static uint64_t cached_blocks[N_SMALL + 1];
static uint64_t n_refills, n_flushes;

struct lock *cache_lock(void)
{
    return &lock;
}

static size_t clamp(size_t value, size_t low, size_t high)
{
    return value < low ? low : value > high ? high : value;
}

void cache_init(unsigned arenas)
{
    uint32_t place = 0;
    n_arenas = arenas < N_ARENAS ? arenas : N_ARENAS;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        size_t bytes = sizeclasses[class].block_bytes;
        unsigned least = bytes <= STACK_MAX_BYTES;
        stack_blocks[class] = (uint16_t)clamp(STACK_MAX_BYTES / bytes, least, STACK_MAX_BLOCKS);
        stack_first[class] = (uint16_t)clamp(STACK_FIRST_BYTES / bytes, least, STACK_FIRST_BLOCKS);
        stack_place[class] = place;
        place += 2u + stack_first[class];
    }
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        stack_place_large[class] = place;
        place += 2u + stack_blocks[class];
    }
    cache_bytes = sizeof(struct cache) + place * sizeof(void *);
}

static bool is_cached(unsigned class)
{
    return stack_first[class] > 0;
}

/*
 * Where a stack of so many slots begins. All classes' stacks of the first size are side by side, in
 * a handful of pages; a stack that grows moves to a place of its own, whose pages a thread that
 * does not need it never touches.
 */
static void **stack_begin(struct cache *cache, unsigned class, unsigned limit)
{
    return &cache->stacks[limit <= stack_first[class] ? stack_place[class]
                                                      : stack_place_large[class]];
}

static void **stack_bottom(struct cache *cache, unsigned class)
{
    if (cache->top[class] == no_stack)
        return no_stack;
    return stack_begin(cache, class, cache->limit[class]);
}

static unsigned stack_count(struct cache *cache, unsigned class)
{
    return (unsigned)(cache->top[class] - stack_bottom(cache, class));
}

static unsigned stack_room(struct cache *cache, unsigned class)
{
    return cache->limit[class] - stack_count(cache, class);
}

static void bring_in_part(struct cache *cache, size_t part)
{
    size_t begin = part * PART_BYTES, left = cache_bytes - begin;
    glue_populate_pages((char *)cache + begin, left < PART_BYTES ? left : PART_BYTES);
}

/* Brings in the part that `at` is in, unless that is done. */
static void bring_in(struct cache *cache, const void *at)
{
    size_t part = (size_t)((const char *)at - (const char *)cache) / PART_BYTES;
    if (part >= 8 * sizeof(cache->ready_parts) || (cache->ready_parts >> part) & 1)
        return;
    bring_in_part(cache, part);
    cache->ready_parts |= 1u << part;
}

/* Makes the stack hold up to `limit` blocks, and no fewer than are in it. */
static void set_limit(struct cache *cache, unsigned class, unsigned limit)
{
    void **from = stack_bottom(cache, class), **to = stack_begin(cache, class, limit);
    unsigned count = stack_count(cache, class);
    if (from != no_stack)
        from[1 + cache->limit[class]] = NULL;
    else if (limit == 0)
        return;
    if (from != to) {
        bring_in(cache, to);
        memcpy(to, from, (1 + count) * sizeof(*to));
        cache->top[class] = to + count;
    }
    to[1 + limit] = CACHE_FENCE;
    cache->limit[class] = (uint16_t)limit;
}

/* An empty one: the next thread's fences are elsewhere. */
static void drop_stack(struct cache *cache, unsigned class)
{
    if (cache->top[class] != no_stack)
        stack_bottom(cache, class)[1 + cache->limit[class]] = NULL;
    cache->top[class] = no_stack;
    cache->limit[class] = 0;
}

enum age {
    AGE_NEW,      /* limit: one below what was taken, so that the last of it to come back is seen */
    AGE_RETURNED, /* limit: what was taken */
    AGE_GROWN     /* stack_first[] and what comes of it */
};

static void set_age(struct cache *cache, unsigned class, enum age age)
{
    unsigned taken = cache->taken[class];
    if (taken >= stack_first[class])
        age = AGE_GROWN;
    cache->age[class] = (uint8_t)age;
    if (age == AGE_GROWN)
        set_limit(cache, class, stack_first[class]);
    else
        set_limit(cache, class, age == AGE_NEW && taken > 0 ? taken - 1 : taken);
}

/* `block` would be the last of what was taken to come back, or one too many. */
static void grow_up(struct cache *cache, unsigned class, void *block)
{
    unsigned count = stack_count(cache, class);
    void *all[STACK_FIRST_BLOCKS + 1];
    all[0] = block;
    memcpy(all + 1, stack_bottom(cache, class) + 1, count * sizeof(*all));
    span_check_cached(class, all, count + 1);
    set_age(cache, class, count < cache->taken[class] ? AGE_RETURNED : AGE_GROWN);
}

static void set_up(struct cache *cache, unsigned arena)
{
    uint32_t ready_parts = cache->ready_parts;
    memset(cache, 0, sizeof(*cache));
    cache->ready_parts = ready_parts | 1;
    cache->arena = (uint8_t)arena;
    cache->scavenge_class = 1;
    for (unsigned class = 0; class < N_CLASSES; class ++) {
        cache->top[class] = no_stack;
        if (class == CLASS_NONE || class > N_SMALL)
            continue;
        size_t batch = BATCH_FIRST_BYTES / sizeclasses[class].block_bytes;
        cache->batch[class] = (uint16_t)clamp(batch, 1, (stack_first[class] + 1u) / 2);
    }
    if (!fast_path)
        return;
    sizeclass_tabulate(cache->class_of_size, CACHE_FAST_MAX_BYTES);
}

/* Adds what the stack has gained or lost since it was last counted. */
static void publish(struct cache *cache, unsigned class)
{
    unsigned now = stack_count(cache, class);
    /* Relaxed: figures to show; wrapping makes the difference right in either direction. */
    atomic_add_relaxed(&cached_blocks[class], (uint64_t)now - cache->published[class]);
    cache->published[class] = (uint16_t)now;
    publish_class(class, cache_cached_blocks(class));
}

/* Sends the n lowest blocks of a stack home: those that were not used for longest. By parts, for
 * threads with little stack. */
static void flush(struct cache *cache, unsigned class, unsigned n)
{
    void **bottom = stack_bottom(cache, class);
    void *going[FLUSH_PART_BLOCKS];

    if (n == 0)
        return;
    PROBE2(flush, (size_t)sizeclasses[class].block_bytes, n);
    while (n > 0) {
        unsigned n_going = n < FLUSH_PART_BLOCKS ? n : FLUSH_PART_BLOCKS;
        unsigned n_staying = stack_count(cache, class) - n_going;
        /* Out of the stack first: if one of them is misused, the abort handler may free. */
        memcpy(going, bottom + 1, n_going * sizeof(*going));
        memmove(bottom + 1, bottom + 1 + n_going, n_staying * sizeof(*bottom));
        cache->top[class] = bottom + n_staying;
        span_give(class, going, n_going);
        n -= n_going;
    }
    atomic_add_relaxed(&n_flushes, 1); /* a figure */
    publish(cache, class);
}

static void flush_all(struct cache *cache)
{
    for (unsigned class = 1; class <= N_SMALL; class ++)
        flush(cache, class, stack_count(cache, class));
}

/* One class at each visit: what it was not seen to need is halved. */
static void scavenge(struct cache *cache)
{
    if (++cache->n_events % SCAVENGE_PERIOD != 0)
        return;
    tick();
    publish_counters(cache_n_refills(), cache_n_flushes());
    unsigned class = cache->scavenge_class;
    cache->scavenge_class = class == N_SMALL ? 1 : class + 1;
    if (cache->is_active[class]) {
        cache->is_active[class] = false;
        return;
    }
    flush(cache, class, (stack_count(cache, class) + 1) / 2);
    unsigned limit = cache->limit[class];
    if (limit > stack_first[class]) {
        unsigned less = limit / 2 > stack_first[class] ? limit / 2 : stack_first[class];
        cache->grown_bytes -= (limit - less) * (size_t)sizeclasses[class].block_bytes;
        set_limit(cache, class, less);
    }
}

static void on_thread_exit(void *data)
{
    struct cache *cache = data;
    cache_check_own();
    firstblocks_stop();
    flush_all(cache);
    for (unsigned class = 1; class <= N_SMALL; class ++)
        drop_stack(cache, class);
    /* Later destructors of this thread may still allocate and free: block by block, without a
     * cache. */
    cache_own = (struct cache *)&cache_none;
    has_ended = true;
    lock_acquire(&lock);
    cache->next_free = free_caches;
    free_caches = cache;
    lock_release(&lock);
}

static struct cache *allocate_cache(void)
{
    struct cache *cache = window_arena_allocate(cache_bytes);
    if (cache)
        bring_in_part(cache, 0); /* before anything is written there */
    return cache;
}

/* The calling thread's cache, made if it has none; NULL: it can have none. */
static struct cache *own_cache(void)
{
    struct cache *cache = cache_own;
    if (check_likely(!cache->is_none))
        return cache;
    if (has_ended)
        return NULL;
    lock_acquire(&lock);
    if (!have_key)
        have_key = pthread_key_create(&key, on_thread_exit) == 0;
    cache = free_caches;
    if (cache)
        free_caches = cache->next_free;
    else
        cache = allocate_cache();
    unsigned arena = next_arena++ % n_arenas;
    span_open_arena(arena);
    bool keyed = have_key, is_first = !has_begun;
    has_begun = true;
    lock_release(&lock);
    if (!is_first || !settings.watch)
        firstblocks_stop(); /* before this thread can free or take a block */
    if (!cache)
        return NULL;
    set_up(cache, arena);
    cache->is_first = is_first;
    cache_own = cache;
    /* After cache_own is set: it may allocate. Without a key the cache is lost when its thread
     * ends, nothing else. */
    if (keyed)
        pthread_setspecific(key, cache);
    return cache;
}

/* More room in a stack that overflowed, if the budget has it. */
static bool grow_limit(struct cache *cache, unsigned class)
{
    unsigned limit = cache->limit[class], more = limit;
    if (more > stack_blocks[class] - limit)
        more = stack_blocks[class] - limit;
    size_t bytes = more * (size_t)sizeclasses[class].block_bytes;
    if (more == 0 || cache->grown_bytes + bytes > BUDGET_BYTES)
        return false;
    cache->grown_bytes += bytes;
    set_limit(cache, class, limit + more);
    return true;
}

bool cache_fill(unsigned class, unsigned n)
{
    struct cache *cache = own_cache();
    if (!cache)
        return false;
    if (cache->age[class] != AGE_GROWN)
        set_age(cache, class, AGE_GROWN);
    while (stack_count(cache, class) < n) {
        unsigned room = stack_room(cache, class);
        if (room == 0) {
            if (!grow_limit(cache, class))
                break;
            continue;
        }
        unsigned want = n - stack_count(cache, class);
        unsigned got =
            span_take(cache->arena, class, cache->top[class] + 1, want < room ? want : room);
        if (got == 0)
            break;
        cache->top[class] += got;
    }
    publish(cache, class);
    return stack_count(cache, class) > 0 || !is_cached(class);
}

void cache_prewarm(void)
{
    struct cache *cache = own_cache();
    if (!cache)
        return;
    glue_populate_pages(cache, cache_bytes);
    cache->ready_parts = ~0u;
    if (cache->is_first)
        firstblocks_prewarm();
}

unsigned cache_own_arena(void)
{
    struct cache *cache = own_cache();
    return cache ? cache->arena : 0;
}

static void count_refill(struct cache *cache, unsigned class, unsigned n)
{
    (void)class;
    PROBE2(refill, (size_t)sizeclasses[class].block_bytes, n);
    atomic_add_relaxed(&n_refills, 1); /* a figure */
    publish(cache, class);
}

static void publish_first(unsigned class)
{
    publish_class(class, cache_cached_blocks(class));
}

/* Straight from the spans. */
static void *take_uncached(unsigned arena, unsigned class)
{
    void *block;
    growth_tick();
    return span_take(arena, class, &block, 1) ? block : NULL;
}

void *cache_take_medium(size_t n_bytes)
{
    struct cache *cache = cache_own;
    if (n_bytes <= CACHE_FAST_MAX_BYTES || n_bytes > SMALL_MAX_BYTES)
        return NULL;
    unsigned class = sizeclass_of(n_bytes);
    void *block = *cache->top[class];
    if (check_unlikely(!block))
        return NULL;
    cache->top[class]--;
    if (++cache->n_events % TICK_PERIOD == 0)
        tick();
    return block;
}

void *cache_take_slow(unsigned class, size_t n_bytes, size_t alignment)
{
    struct cache *cache = own_cache();
    void *block = NULL;
    if (!cache || !is_cached(class))
        return take_uncached(cache ? cache->arena : 0, class);
    if (cache->is_first) {
        block = firstblocks_take(class, n_bytes, alignment);
        if (block) {
            publish_first(class);
            return block;
        }
    }
    /* Not empty: the request is aligned and above the fast path's sizes, or the cache has just been
     * made. */
    block = *cache->top[class];
    if (block) {
        cache->top[class]--;
        return block;
    }
    bool is_grown = cache->age[class] == AGE_GROWN;
    if (!is_grown)
        set_limit(cache, class, stack_first[class]); /* until they are here */
    unsigned n = cache->batch[class];
    unsigned room = stack_room(cache, class);
    unsigned got = span_take(cache->arena, class, cache->top[class] + 1, n < room ? n : room);
    if (got == 0) {
        if (!is_grown)
            set_age(cache, class, cache->age[class]);
        return NULL;
    }
    block = cache->top[class][got];
    cache->top[class] += got - 1;
    if (!is_grown) {
        cache->taken[class] = (uint16_t)(cache->taken[class] + got);
        set_age(cache, class, cache->age[class]);
    }
    if (cache->is_active[class]) {
        /* Again already: bigger batches, and room for them. */
        if (is_grown && n >= room / 2)
            grow_limit(cache, class);
        unsigned limit = is_grown ? cache->limit[class] : stack_first[class];
        cache->batch[class] = (uint16_t)clamp(n * 2, 1, (limit + 1) / 2);
    }
    cache->is_active[class] = true;
    count_refill(cache, class, got);
    growth_tick();
    scavenge(cache);
    return block;
}

void cache_give_slow(unsigned class, void *block)
{
    struct cache *cache = own_cache();
    if (!cache || !is_cached(class)) {
        span_give(class, &block, 1);
        tick();
        return;
    }
    if (stack_room(cache, class) == 0 && cache->age[class] != AGE_GROWN)
        grow_up(cache, class, block);
    if (stack_room(cache, class) == 0) {
        if (!cache->is_active[class] || !grow_limit(cache, class))
            flush(cache, class, (stack_count(cache, class) + 1) / 2);
        cache->is_active[class] = true;
        scavenge(cache);
    }
    *++cache->top[class] = block;
}

/* Is the calling thread the one that takes the first blocks? If not, they end. */
static bool owns_first(void)
{
    if (own_cache() && cache_own->is_first)
        return true;
    firstblocks_stop();
    return false;
}

void cache_give_first(void *block)
{
    bool is_own = owns_first();
    publish_first(firstblocks_give(block, is_own));
}

void cache_resize_first(const void *block, size_t n_bytes)
{
    owns_first();
    firstblocks_resize(block, n_bytes);
}

void cache_check_own(void)
{
    if (cache_own->is_first)
        firstblocks_check_all();
}

void cache_disable_fast_path(void)
{
    fast_path = false;
    window_disable_fast_path();
    if (cache_own->is_none)
        return;
    memset(cache_own->class_of_size, CLASS_NONE, sizeof(cache_own->class_of_size));
}

void cache_flush_own(void)
{
    if (!cache_own->is_none)
        flush_all(cache_own);
}

uint64_t cache_cached_blocks(unsigned class)
{
    return atomic_load_relaxed(&cached_blocks[class]);
}

uint64_t cache_n_refills(void)
{
    return atomic_load_relaxed(&n_refills);
}

uint64_t cache_n_flushes(void)
{
    return atomic_load_relaxed(&n_flushes);
}
