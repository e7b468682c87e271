/* See firstblocks.h. */
#include "libclient/firstblocks.h"

#include <string.h>

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/firstregion.h"
#include "libclient/glue.h"
#include "libclient/misuse.h"
#include "libclient/runs.h"
#include "libclient/window.h"

/* Of a class, so many blocks, and so many bytes with their red zones. */
#define CLASS_MAX_BLOCKS 8u
#define CLASS_MAX_BYTES  4096u
/* Of all classes. */
#define MAX_BLOCKS 256u
#define RUN_UNITS  3u
#define RUN_BYTES  (RUN_UNITS * UNIT_BYTES)
/* Its pages come in by so much, with a system call each. */
#define PART_BYTES ((size_t)8 << 10)

/* A program's first requests and frees each look at so many blocks of those before. */
#define RECENT       4u
#define RECENT_UNTIL 32u

#define RED_BYTES FIRSTBLOCKS_RED_BYTES
#define RED       0xfb

enum state { STATE_LIVE, STATE_CLEARING, STATE_FREED };

struct first {
    uint32_t offset;  /* in the run */
    uint16_t n_bytes; /* as asked for, or lent */
    uint8_t class;
    uint8_t state; /* enum state */
};

/* In the order of their addresses, each with a red zone before it; one more ends at `end`. */
static struct first firsts[MAX_BLOCKS];
static uint32_t n_firsts; /* counted in with release: what is behind it is seen */
static char *run;         /* constant once there is a block */
static size_t end_offset, ready_bytes;

static uint8_t n_requests[FIRSTBLOCKS_LAST_CLASS + 1]; /* of a class, up to one more than it gets */
static uint8_t n_freed[FIRSTBLOCKS_LAST_CLASS + 1], n_taken[FIRSTBLOCKS_LAST_CLASS + 1];

static uint16_t recent[RECENT]; /* indices */
static uint8_t n_noted;         /* there so far */

static uint8_t has_stopped;
/* A signal handler that interrupted one of these functions, and allocates, is not watched. */
static uint8_t is_busy;

static bool is_over(void)
{
    return atomic_load_relaxed(&has_stopped); /* see slack_fault() for where the order counts */
}

void firstblocks_stop(void)
{
    if (!is_over()) /* mostly it has been said long since: not to take the line from others */
        atomic_store_relaxed(&has_stopped, 1);
    /* What the thread does to blocks from here on is seen after that. Pairs with the fence in
     * slack_fault(). */
    atomic_fence_release();
}

/* By the thread that takes, around whatever looks at blocks. */
static bool begin(void)
{
    if (check_unlikely(is_busy)) {
        firstblocks_stop();
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

static unsigned count(void)
{
    return atomic_load_acquire(&n_firsts); /* pairs with the release in carve() */
}

static size_t bytes_of(const struct first *first)
{
    return sizeclasses[first->class].block_bytes;
}

static char *block_of(const struct first *first)
{
    return run + first->offset;
}

/* Relaxed, these three: changed by whoever has the block. */
static size_t asked_bytes(const struct first *first)
{
    return atomic_load_relaxed(&first->n_bytes);
}

static size_t slack_bytes(const struct first *first)
{
    size_t n = bytes_of(first) - asked_bytes(first);
    return n < RED_BYTES ? n : RED_BYTES;
}

static _Noreturn void abort_in(enum misuse misuse, const void *at, const struct first *first)
{
    misuse_abort_in(misuse, at, block_of(first), asked_bytes(first));
}

/* ---- looking ---- */

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

/* Of an end of a red zone. By vectors of 16 bytes, since this is most of what looking costs. */
static inline bool is_red(const char *at)
{
    typedef uint64_t vector __attribute__((vector_size(16)));
    const vector red = {RED * UINT64_C(0x0101010101010101), RED * UINT64_C(0x0101010101010101)};
    vector other = {0, 0}, part;
    for (size_t n = 0; n < RED_BYTES; n += sizeof(part)) {
        memcpy(&part, at + n, sizeof(part));
        other |= part ^ red;
    }
    return (other[0] | other[1]) == 0;
}

/* Red zone i, which lies before block i. */
static char *red_zone(unsigned i)
{
    return i == 0 ? run : block_of(&firsts[i - 1]) + bytes_of(&firsts[i - 1]);
}

static size_t red_zone_bytes(unsigned i, unsigned n)
{
    return i < n ? (size_t)(block_of(&firsts[i]) - red_zone(i)) : RED_BYTES;
}

/* Which of its neighbours went astray: the nearer one. */
static void check_red_zone(unsigned i, unsigned n)
{
    char *red = red_zone(i);
    size_t n_bytes = red_zone_bytes(i, n);
    char *last = red + n_bytes - RED_BYTES; /* the ends are one in a short zone */
    if (check_likely(is_red(red) && (last == red || is_red(last))))
        return;
    char *at = first_other(red, RED_BYTES, RED);
    if (!at)
        at = first_other(last, RED_BYTES, RED);
    bool is_overflow = i > 0 && (i == n || (size_t)(at - red) < n_bytes / 2);
    abort_in(is_overflow ? MISUSE_OVERFLOW : MISUSE_UNDERFLOW, at,
             &firsts[is_overflow ? i - 1 : i]);
}

/*
 * Another thread may rightly write here, but says so first: by firstblocks_stop(). So what was seen
 * counts only if that has still not happened.
 */
static char *slack_fault(const struct first *first)
{
    if (is_over())
        return NULL;
    char *at = first_other(block_of(first) + asked_bytes(first), slack_bytes(first), RED);
    if (check_likely(!at))
        return NULL;
    atomic_fence_acquire(); /* pairs with the one in firstblocks_stop() */
    return is_over() ? NULL : at;
}

static void check_block(const struct first *first)
{
    char *at;
    /* Pairs with the release in firstblocks_give(): it is cleared. */
    switch (atomic_load_acquire(&first->state)) {
    case STATE_LIVE:
        at = slack_fault(first);
        if (check_unlikely(at))
            abort_in(MISUSE_OVERFLOW, at, first);
        break;
    case STATE_FREED:
        at = first_other(block_of(first), bytes_of(first), 0);
        if (check_unlikely(at))
            abort_in(MISUSE_USE_AFTER_FREE, at, first);
        break;
    }
}

/* A block and the red zones on both sides. */
static void check_all_of(unsigned i)
{
    unsigned n = count();
    check_red_zone(i + 1, n);
    check_red_zone(i, n);
    check_block(&firsts[i]);
}

static void check_class(unsigned class)
{
    for (unsigned i = 0; i < n_firsts; i++) {
        if (firsts[i].class == class)
            check_all_of(i);
    }
}

void firstblocks_check_all(void)
{
    if (n_firsts == 0 || !begin())
        return;
    for (unsigned i = 0; i <= n_firsts; i++)
        check_red_zone(i, n_firsts);
    for (unsigned i = 0; i < n_firsts; i++)
        check_block(&firsts[i]);
    end();
}

static void check_recent(void)
{
    if (n_noted > RECENT_UNTIL)
        return;
    for (unsigned i = 0; i < RECENT && i < n_noted; i++)
        check_all_of(recent[i]);
}

static void note_recent(unsigned i)
{
    if (n_noted <= RECENT_UNTIL)
        recent[n_noted++ % RECENT] = (uint16_t)i;
}

/* ---- taking ---- */

static unsigned class_max_blocks(unsigned class)
{
    size_t n = CLASS_MAX_BYTES / (sizeclasses[class].block_bytes + RED_BYTES);
    return n < 1 ? 1 : n > CLASS_MAX_BLOCKS ? CLASS_MAX_BLOCKS : (unsigned)n;
}

/* False: there will be none. What is leased may be absent from a child made behind our back, which
 * will look at exit. */
static bool begin_run(void)
{
    bool zero;
    char *units = runs_allocate(RUN_UNITS, 1, CLASS_FIRST, false, &zero);
    if (!units)
        return false;
    if (window_slab(window_index(units))->backing != SUPERSLAB_PRIVATE) {
        runs_free(units, RUN_UNITS);
        return false;
    }
    run = units;
    return true;
}

static void bring_in(size_t until)
{
    if (until <= ready_bytes)
        return;
    size_t n_bytes = (until - ready_bytes + PART_BYTES - 1) / PART_BYTES * PART_BYTES;
    glue_populate(run + ready_bytes, n_bytes);
    ready_bytes += n_bytes;
}

static void set_slack(struct first *first, size_t n_bytes)
{
    atomic_store_relaxed(&first->n_bytes, (uint16_t)n_bytes);
    if (!is_over())
        memset(block_of(first) + n_bytes, RED, slack_bytes(first));
}

/* The next block. Until it is counted in, the red zone that it lies behind is as it was. */
static void *carve(unsigned class, size_t n_bytes, size_t alignment)
{
    size_t at = end_offset + RED_BYTES;
    at = (at + alignment - 1) & ~(alignment - 1);
    size_t block_end = at + sizeclasses[class].block_bytes;
    if (n_firsts == MAX_BLOCKS || block_end + RED_BYTES > RUN_BYTES)
        return NULL;
    bring_in(block_end + RED_BYTES);
    struct first *first = &firsts[n_firsts];
    *first = (struct first){.offset = (uint32_t)at, .class = (uint8_t) class, .state = STATE_LIVE};
    if (n_firsts == 0)
        memset(run, RED, RED_BYTES);
    memset(run + end_offset + RED_BYTES, RED, at - RED_BYTES - end_offset);
    memset(run + block_end, RED, RED_BYTES);
    set_slack(first, n_bytes);
    end_offset = block_end;
    /* Relaxed: an estimate. */
    atomic_store_relaxed(&window_span(window_unit_number(run))->n_carved,
                         (uint16_t)(end_offset / FIRSTREGION_STEP_BYTES));
    note_recent(n_firsts);
    atomic_store_relaxed(&n_taken[class], (uint8_t)(n_taken[class] + 1));
    atomic_store_release(&n_firsts, n_firsts + 1); /* pairs with the acquire in count() */
    return block_of(first);
}

void *firstblocks_take(unsigned class, size_t n_bytes, size_t alignment)
{
    if (class > FIRSTBLOCKS_LAST_CLASS || is_over())
        return NULL;
    unsigned n_max = class_max_blocks(class);
    if (n_requests[class] > n_max || !begin())
        return NULL;
    void *block = NULL;
    check_recent();
    if (n_requests[class]++ == n_max)
        check_class(class); /* it is let go */
    else if (run || begin_run())
        block = carve(class, n_bytes, alignment);
    else
        firstblocks_stop();
    end();
    return block;
}

void firstblocks_prewarm(void)
{
    if (is_over() || !begin())
        return;
    if (run || begin_run())
        bring_in(RUN_BYTES);
    end();
}

/* ---- what the program has ---- */

/* The last block that begins at or before `pointer`, or NULL. */
static struct first *last_until(const void *pointer)
{
    size_t offset = (size_t)((const char *)pointer - run);
    unsigned low = 0, high = count();
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (firsts[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &firsts[low - 1] : NULL;
}

static bool contains(const struct first *first, const void *pointer)
{
    return first && (size_t)((const char *)pointer - block_of(first)) < bytes_of(first);
}

/* The block that begins at `pointer`, live or not. Aborts if none does. */
static struct first *find(const void *pointer)
{
    struct first *first = last_until(pointer);
    if (check_unlikely(!contains(first, pointer)))
        misuse_abort(MISUSE_NOT_LIVE, pointer); /* others may have been here, before */
    if (check_unlikely(pointer != block_of(first)))
        abort_in(MISUSE_INTERIOR, pointer, first);
    return first;
}

static struct first *find_live(const void *pointer)
{
    struct first *first = find(pointer);
    /* Relaxed: whoever has the block knows that it is live, and who does not is wrong. */
    if (check_unlikely(atomic_load_relaxed(&first->state) != STATE_LIVE))
        abort_in(MISUSE_DOUBLE_FREE, pointer, first);
    return first;
}

unsigned firstblocks_class(const void *block)
{
    return find_live(block)->class;
}

unsigned firstblocks_give(void *block, bool is_own)
{
    struct first *first = find_live(block);
    unsigned i = (unsigned)(first - firsts), class = first->class;
    bool begun = is_own && begin();
    if (begun)
        check_recent();
    check_all_of(i);
    uint8_t expected = STATE_LIVE;
    /* Relaxed: the program's own order says who frees it; the second of two is stopped. */
    if (!atomic_cas_relaxed(&first->state, &expected, STATE_CLEARING))
        abort_in(MISUSE_DOUBLE_FREE, block, first);
    memset(block, 0, bytes_of(first));
    atomic_store_release(&first->state, STATE_FREED); /* pairs with check_block() */
    atomic_add_relaxed(&n_freed[class], 1);
    if (begun) {
        note_recent(i);
        end();
    }
    return class;
}

void firstblocks_resize(const void *block, size_t n_bytes)
{
    if (!is_over() && is_busy)
        firstblocks_stop(); /* a signal handler, and what it interrupted may be looking there */
    set_slack(find_live(block), n_bytes);
}

void *firstblocks_start(const void *inside)
{
    const struct first *first = last_until(inside);
    return contains(first, inside) ? block_of(first) : (void *)inside;
}

unsigned firstblocks_n_taken(unsigned class)
{
    return class <= FIRSTBLOCKS_LAST_CLASS ? atomic_load_relaxed(&n_taken[class]) : 0;
}

unsigned firstblocks_n_live(unsigned class)
{
    if (class > FIRSTBLOCKS_LAST_CLASS)
        return 0;
    return atomic_load_relaxed(&n_taken[class]) - (unsigned)atomic_load_relaxed(&n_freed[class]);
}
