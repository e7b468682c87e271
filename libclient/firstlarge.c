/* See firstlarge.h. The few bytes of the block's pages that are not the block's hold a filler,
 * looked at when it is freed. */
#include "libclient/firstlarge.h"

#include <stdint.h>
#include <string.h>

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/glue.h"
#include "libclient/misuse.h"

#define FENCE_BYTES ((size_t)2 << 20)
#define FILLER      0xfb

enum state { STATE_NONE = 0, STATE_TAKEN, STATE_LIVE, STATE_FREED };

static uint32_t state;
/* Written in STATE_TAKEN, constant from then on. `place` last, with release: who sees it sees the
 * others. */
static char *place; /* the fence before the block; NULL: no block was given out as yet */
static char *pages;
static char *block_start;
static size_t block_bytes, pages_bytes;

static size_t place_bytes(void)
{
    return FENCE_BYTES + pages_bytes + FENCE_BYTES;
}

bool firstlarge_contains(const void *pointer)
{
    const char *at = atomic_load_acquire(&place); /* pairs with the release below */
    return at && (uintptr_t)pointer - (uintptr_t)at < place_bytes();
}

size_t firstlarge_live_bytes(void)
{
    /* Acquire: pairs with the release in firstlarge_allocate(), for block_bytes. */
    return atomic_load_acquire(&state) == STATE_LIVE ? block_bytes : 0;
}

size_t firstlarge_held_bytes(void)
{
    return firstlarge_live_bytes() > 0 ? pages_bytes : 0;
}

bool firstlarge_owns(const void *pointer)
{
    size_t n_bytes = firstlarge_live_bytes();
    return n_bytes > 0 && (uintptr_t)pointer - (uintptr_t)block_start < n_bytes;
}

static bool reserve(size_t n_bytes)
{
    size_t page = glue_page_bytes();
    pages_bytes = (n_bytes + page - 1) / page * page;
    char *reserved = glue_reserve(place_bytes());
    if (!reserved)
        return false;
    pages = reserved + FENCE_BYTES;
    if (!glue_make_usable(pages, pages_bytes)) {
        glue_unreserve(reserved, place_bytes());
        return false;
    }
    block_bytes = n_bytes;
    block_start = pages + pages_bytes - (n_bytes + 15) / 16 * 16;
    memset(pages, FILLER, (size_t)(block_start - pages));
    memset(block_start + n_bytes, FILLER, (size_t)(pages + pages_bytes - block_start) - n_bytes);
    atomic_store_release(&place, reserved); /* pairs with the acquire in firstlarge_contains() */
    return true;
}

void *firstlarge_allocate(size_t n_bytes)
{
    uint32_t expected = STATE_NONE;
    if (n_bytes < FIRSTLARGE_MIN_BYTES || n_bytes > FIRSTLARGE_MAX_BYTES ||
        atomic_load_relaxed(&state) != STATE_NONE)
        return NULL;
    /* Relaxed: whoever gets it is alone with it until `place` is set. */
    if (!atomic_cas_relaxed(&state, &expected, STATE_TAKEN) || !reserve(n_bytes))
        return NULL;
    atomic_store_release(&state, STATE_LIVE); /* pairs with firstlarge_live_bytes() */
    return block_start;
}

static void check_live(const void *block)
{
    if (block != block_start)
        misuse_abort(block > (void *)block_start && (char *)block < block_start + block_bytes
                         ? MISUSE_INTERIOR
                         : MISUSE_NOT_LIVE,
                     block);
    if (atomic_load_relaxed(&state) != STATE_LIVE)
        misuse_abort_in(MISUSE_DOUBLE_FREE, block, block, block_bytes);
}

size_t firstlarge_usable(const void *block)
{
    check_live(block);
    return block_bytes;
}

static const char *first_other(const char *at, const char *end)
{
    while (at < end && *at == (char)FILLER)
        at++;
    return at < end ? at : NULL;
}

void firstlarge_free(void *block)
{
    uint32_t expected = STATE_LIVE;
    check_live(block);
    const char *at = first_other(pages, block_start);
    if (check_unlikely(at))
        misuse_abort_in(MISUSE_UNDERFLOW, at, block, block_bytes);
    at = first_other(block_start + block_bytes, pages + pages_bytes);
    if (check_unlikely(at))
        misuse_abort_in(MISUSE_OVERFLOW, at, block, block_bytes);
    if (!atomic_cas_relaxed(&state, &expected, STATE_FREED)) /* two threads at once */
        misuse_abort_in(MISUSE_DOUBLE_FREE, block, block, block_bytes);
    /* The address space stays taken. One mapping too many in the process: at least, no memory. */
    if (!glue_unmap(pages, pages_bytes))
        glue_purge(pages, pages_bytes);
}
