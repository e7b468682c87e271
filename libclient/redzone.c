/* See redzone.h. */
#include "libclient/redzone.h"

#include <stdint.h>
#include <string.h>

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/misuse.h"
#include "libclient/window.h"

/* Blocks of a class that are watched, at most. */
#define WATCHED_MAX 4u
/* A program's first requests and frees each look at so many blocks of those before. */
#define RECENT       4u
#define RECENT_UNTIL 32u
/* About so many bytes of a class, watched blocks and red zones. */
#define ZONE_BYTES 4096u

#define RED 0xfb

enum phase { PHASE_NEW = 0, PHASE_WATCHED, PHASE_ENDED };
enum watched_state { WATCHED_FRESH = 0, WATCHED_LIVE, WATCHED_FREED };

/*
 * One class. From `base`: a red zone of `gap` blocks, a watched block, a red zone, and so on, a red
 * zone last.
 */
struct zone {
    char *base;
    uint16_t n_bytes[WATCHED_MAX]; /* as asked for, or lent */
    uint8_t state[WATCHED_MAX];    /* enum watched_state */
    uint8_t phase;
    uint8_t n_watched;
    uint8_t gap;
};

static struct zone zones[REDZONE_LAST_CLASS + 1];
static struct {
    uint8_t class, i;
} recent[RECENT];
static uint8_t n_noted; /* in recent[] so far */

static uint8_t has_stopped;
/* A signal handler that interrupted one of these functions, and allocates, is not watched. */
static uint8_t is_busy;

static bool is_over(void)
{
    return atomic_load_relaxed(&has_stopped); /* see slack_fault() for where the order counts */
}

void redzone_stop(void)
{
    if (!is_over()) /* mostly it has been said long since: not to take the line from others */
        atomic_store_relaxed(&has_stopped, 1);
    /* What the thread does to blocks from here on is seen after that. Pairs with the fence in
     * slack_fault(). */
    atomic_fence_release();
}

static bool begin(void)
{
    if (check_unlikely(is_busy)) {
        redzone_stop();
        return false;
    }
    is_busy = true;
    atomic_compiler_barrier();
    return true;
}

static void end(void)
{
    atomic_compiler_barrier();
    is_busy = false;
}

/* Of any small class: its zone if it is watched, else NULL. */
static struct zone *watched_zone(unsigned class)
{
    return class <= REDZONE_LAST_CLASS && zones[class].phase == PHASE_WATCHED ? &zones[class]
                                                                              : NULL;
}

static size_t bytes_of(unsigned class)
{
    return sizeclasses[class].block_bytes;
}

static size_t gap_bytes(const struct zone *zone, unsigned class)
{
    return zone->gap * bytes_of(class);
}

static unsigned n_blocks(const struct zone *zone)
{
    return zone->n_watched * (zone->gap + 1u) + zone->gap;
}

/* Red zone i, which lies before watched block i. */
static char *red_zone(const struct zone *zone, unsigned class, unsigned i)
{
    return zone->base + i * (zone->gap + 1u) * bytes_of(class);
}

static char *watched_block(const struct zone *zone, unsigned class, unsigned i)
{
    return red_zone(zone, class, i) + gap_bytes(zone, class);
}

static size_t slack_bytes(const struct zone *zone, unsigned class, unsigned i)
{
    size_t n = bytes_of(class) - zone->n_bytes[i];
    return n < REDZONE_BYTES ? n : REDZONE_BYTES;
}

/* The first byte that is not `with`, or NULL. */
static char *first_other(char *at, size_t n, unsigned char with)
{
    /* All are like the first one if each is like the next one. */
    if (n == 0 || (*at == (char)with && memcmp(at, at + 1, n - 1) == 0))
        return NULL;
    while (n > 0 && *at == (char)with)
        at++, n--;
    return n > 0 ? at : NULL;
}

static void fill_red_zone(char *red, size_t n)
{
    memset(red, RED, REDZONE_BYTES);
    memset(red + n - REDZONE_BYTES, RED, REDZONE_BYTES);
}

/* Of a red zone or its end: n is a multiple of 32. By vectors of 16 bytes, since this is most of
 * what watching costs. */
static inline bool is_red(const char *at, size_t n)
{
    typedef uint64_t vector __attribute__((vector_size(16)));
    const vector red = {RED * UINT64_C(0x0101010101010101), RED * UINT64_C(0x0101010101010101)};
    vector other = {0, 0}, parts[2];
    for (; n > 0; at += sizeof(parts), n -= sizeof(parts)) {
        memcpy(parts, at, sizeof(parts));
        other |= (parts[0] ^ red) | (parts[1] ^ red);
    }
    return (other[0] | other[1]) == 0;
}

/* The ends overlap in a short one. */
static char *red_zone_fault(char *red, size_t n)
{
    char *last = red + n - REDZONE_BYTES;
    if (check_likely(is_red(red, REDZONE_BYTES) && is_red(last, REDZONE_BYTES)))
        return NULL;
    char *at = first_other(red, REDZONE_BYTES, RED);
    return at ? at : first_other(last, REDZONE_BYTES, RED);
}

/* Which of its neighbours went astray: the nearer one, unless it was never given out. */
static _Noreturn void red_zone_abort(const struct zone *zone, unsigned class, unsigned i, char *at)
{
    char *red = red_zone(zone, class, i);
    bool is_near_start = (size_t)(at - red) < gap_bytes(zone, class) / 2;
    bool is_overflow = i > 0 && zone->state[i - 1] != WATCHED_FRESH &&
                       (is_near_start || i == zone->n_watched || !zone->state[i]);
    unsigned culprit = is_overflow || i == zone->n_watched ? i - 1 : i;
    misuse_abort_in(is_overflow ? MISUSE_OVERFLOW : MISUSE_UNDERFLOW, at,
                    watched_block(zone, class, culprit), zone->n_bytes[culprit]);
}

static void check_red_zone(const struct zone *zone, unsigned class, unsigned i)
{
    char *at = red_zone_fault(red_zone(zone, class, i), gap_bytes(zone, class));
    if (check_unlikely(at))
        red_zone_abort(zone, class, i, at);
}

/*
 * Another thread may rightly write here, but says so first: by redzone_stop(). So what was seen
 * counts only if that has still not happened.
 */
static char *slack_fault(const struct zone *zone, unsigned class, unsigned i)
{
    if (is_over())
        return NULL;
    char *at = first_other(watched_block(zone, class, i) + zone->n_bytes[i],
                           slack_bytes(zone, class, i), RED);
    if (check_likely(!at))
        return NULL;
    atomic_fence_acquire(); /* pairs with the one in redzone_stop() */
    return is_over() ? NULL : at;
}

static void check_block(const struct zone *zone, unsigned class, unsigned i)
{
    char *block = watched_block(zone, class, i), *at = NULL;
    if (zone->state[i] == WATCHED_LIVE) {
        at = slack_fault(zone, class, i);
        if (check_unlikely(at))
            misuse_abort_in(MISUSE_OVERFLOW, at, block, zone->n_bytes[i]);
    } else if (zone->state[i] == WATCHED_FREED) {
        at = first_other(block, bytes_of(class), 0);
        if (check_unlikely(at))
            misuse_abort_in(MISUSE_USE_AFTER_FREE, at, block, zone->n_bytes[i]);
    }
}

/* One watched block and the red zones on both sides. */
static void check_all_of(unsigned class, unsigned i)
{
    const struct zone *zone = &zones[class];
    check_red_zone(zone, class, i + 1);
    check_red_zone(zone, class, i);
    check_block(zone, class, i);
}

static void check_recent(void)
{
    if (n_noted > RECENT_UNTIL)
        return;
    for (unsigned n = 0; n < RECENT && n < n_noted; n++) {
        if (watched_zone(recent[n].class))
            check_all_of(recent[n].class, recent[n].i);
    }
}

static void note_recent(unsigned class, unsigned i)
{
    if (n_noted > RECENT_UNTIL)
        return;
    unsigned n = n_noted++ % RECENT;
    recent[n].class = (uint8_t) class;
    recent[n].i = (uint8_t)i;
}

static void check_class(unsigned class)
{
    const struct zone *zone = watched_zone(class);
    if (!zone)
        return;
    for (unsigned i = 0; i <= zone->n_watched; i++)
        check_red_zone(zone, class, i);
    for (unsigned i = 0; i < zone->n_watched; i++)
        check_block(zone, class, i);
}

static void lay_out(unsigned class, struct zone *zone)
{
    size_t bytes = bytes_of(class);
    zone->gap = (uint8_t)((REDZONE_BYTES + bytes - 1) / bytes);
    size_t n = ZONE_BYTES / ((zone->gap + 1u) * bytes);
    zone->n_watched = (uint8_t)(n < 1 ? 1 : n > WATCHED_MAX ? WATCHED_MAX : n);
}

unsigned redzone_wants(unsigned class)
{
    if (class > REDZONE_LAST_CLASS || zones[class].phase != PHASE_NEW || is_busy || is_over())
        return 0;
    struct zone zone;
    lay_out(class, &zone);
    return n_blocks(&zone);
}

/* The lowest of n blocks that lie side by side, or NULL. */
static char *lowest(void *const *blocks, unsigned n, size_t bytes)
{
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (unsigned i = 0; i < n; i++) {
        uintptr_t at = (uintptr_t)blocks[i];
        low = at < low ? at : low;
        high = at > high ? at : high;
    }
    /* They are different blocks of one class: within this range they fill it. */
    return n > 0 && high - low == (n - 1) * bytes ? (char *)low : NULL;
}

bool redzone_open(unsigned class, void *const *blocks, unsigned n)
{
    struct zone *zone = &zones[class];
    if (!begin())
        return false;
    lay_out(class, zone);
    zone->base = n == n_blocks(zone) ? lowest(blocks, n, bytes_of(class)) : NULL;
    /* What is leased may be absent from a child made behind our back, which will look at exit. */
    if (zone->base && window_slab(window_index(zone->base))->backing != SUPERSLAB_PRIVATE)
        zone->base = NULL;
    zone->phase = zone->base ? PHASE_WATCHED : PHASE_ENDED;
    for (unsigned i = 0; zone->base && i <= zone->n_watched; i++)
        fill_red_zone(red_zone(zone, class, i), gap_bytes(zone, class));
    end();
    return zone->phase == PHASE_WATCHED;
}

static void set_slack(struct zone *zone, unsigned class, unsigned i, size_t n_bytes)
{
    zone->n_bytes[i] = (uint16_t)n_bytes;
    memset(watched_block(zone, class, i) + n_bytes, RED, slack_bytes(zone, class, i));
}

void *redzone_take(unsigned class, size_t n_bytes)
{
    struct zone *zone = watched_zone(class);
    void *block = NULL;
    if (!zone || is_over() || !begin())
        return NULL;
    check_recent();
    for (unsigned i = 0; i < zone->n_watched && !block; i++) {
        if (zone->state[i] != WATCHED_FRESH)
            continue;
        block = watched_block(zone, class, i);
        set_slack(zone, class, i, n_bytes);
        zone->state[i] = WATCHED_LIVE;
        note_recent(class, i);
    }
    end();
    return block;
}

/* The watched block at `block`; -1: it is elsewhere. Aborts if none begins there. */
static int find(const struct zone *zone, unsigned class, const void *block)
{
    size_t offset = (size_t)((const char *)block - zone->base);
    if (offset >= n_blocks(zone) * bytes_of(class))
        return -1;
    unsigned n = sizeclass_block_index(class, offset), stride = zone->gap + 1u;
    if (offset != n * bytes_of(class))
        misuse_abort(MISUSE_INTERIOR, block);
    if ((n + 1) % stride != 0 || zone->state[n / stride] == WATCHED_FRESH)
        misuse_abort(MISUSE_NOT_LIVE, block); /* other blocks may have been here, before */
    return (int)(n / stride);
}

bool redzone_give(unsigned class, void *block)
{
    struct zone *zone = watched_zone(class);
    if (!zone || !begin())
        return false;
    check_recent();
    int i = find(zone, class, block);
    if (i >= 0) {
        if (zone->state[i] == WATCHED_FREED)
            misuse_abort(MISUSE_DOUBLE_FREE, block);
        check_all_of(class, (unsigned)i);
        memset(block, 0, bytes_of(class));
        zone->state[i] = WATCHED_FREED;
        note_recent(class, (unsigned)i);
    }
    end();
    return i >= 0;
}

void redzone_resize(unsigned class, const void *block, size_t n_bytes)
{
    struct zone *zone = watched_zone(class);
    if (!zone || is_over() || !begin())
        return;
    int i = find(zone, class, block);
    if (i >= 0 && zone->state[i] == WATCHED_FREED)
        misuse_abort(MISUSE_DOUBLE_FREE, block);
    if (i >= 0)
        set_slack(zone, class, (unsigned)i, n_bytes);
    end();
}

unsigned redzone_n_kept(unsigned class)
{
    const struct zone *zone = watched_zone(class);
    if (!zone)
        return 0;
    unsigned n = n_blocks(zone);
    for (unsigned i = 0; i < zone->n_watched; i++)
        n -= zone->state[i] == WATCHED_LIVE;
    return n;
}

/* What is not the program's: freed blocks, then the rest from the highest down. */
static unsigned collect(const struct zone *zone, unsigned class, void **blocks)
{
    unsigned n = 0, stride = zone->gap + 1u;
    for (unsigned i = 0; i < zone->n_watched; i++) {
        if (zone->state[i] == WATCHED_FREED)
            blocks[n++] = watched_block(zone, class, i);
    }
    for (unsigned at = n_blocks(zone); at-- > 0;) {
        if ((at + 1) % stride != 0 || zone->state[at / stride] == WATCHED_FRESH)
            blocks[n++] = zone->base + at * bytes_of(class);
    }
    return n;
}

unsigned redzone_close(unsigned class, void **blocks, unsigned *n_taken)
{
    unsigned n = 0;
    *n_taken = 0;
    if (class > REDZONE_LAST_CLASS || zones[class].phase == PHASE_ENDED || !begin())
        return 0;
    const struct zone *zone = watched_zone(class);
    if (zone) {
        check_class(class);
        *n_taken = n_blocks(zone);
        n = collect(zone, class, blocks);
    }
    zones[class].phase = PHASE_ENDED;
    end();
    return n;
}

void redzone_check_all(void)
{
    if (!begin())
        return;
    for (unsigned class = 1; class <= REDZONE_LAST_CLASS; class ++)
        check_class(class);
    end();
}
