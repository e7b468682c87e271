/*
 * See guard.h.
 *
 * Layout of a guarded block, `start` being the heap's block: front (16 bytes or the alignment), of
 * which the last 16 are struct front; the program's bytes; the back guard up to the heap block's
 * end, at least BACK_MIN_BYTES.
 */
#include "libclient/guard.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "common/check.h"
#include "libclient/fence.h"
#include "libclient/heap.h"
#include "libclient/lock.h"
#include "libclient/misuse.h"
#include "libclient/tables.h"

struct front {
    uint64_t n_bytes;
    uint64_t seal; /* SEAL_LIVE or SEAL_FREED, mixed with the address and n_bytes */
};

static_assert(sizeof(struct front) == 16, "keeps the program's bytes aligned");

#define SEAL_LIVE      UINT64_C(0x9d3ac1e0b7f24c65)
#define SEAL_FREED     UINT64_C(0x5bd1e995a2c8f317)
#define SEAL_LAST_BYTE UINT64_C(0xfd)
#define BACK_MIN_BYTES 16u
#define BACK_BYTE      0xfb
#define JUNK_NEW       0xce
#define JUNK_FREED     0xdf

/* Above this a front guard would cost more than it finds. */
#define GUARD_MAX_ALIGNMENT ((size_t)32768)

#define QUARANTINE_BLOCKS    8192u
#define QUARANTINE_MAX_BYTES ((size_t)64 << 20)
/* Of larger blocks only the ends are filled and looked at. */
#define JUNK_MAX_BYTES ((size_t)1 << 20)
/* Of fenced ones, when they are given out: this much at either end. */
#define JUNK_END_BYTES ((size_t)16 << 10)

static struct lock lock;
static TABLE_LARGE void *quarantine[QUARANTINE_BLOCKS]; /* the program's addresses, a ring */
static uint32_t q_first, q_count;
static size_t q_bytes;

struct lock *guard_lock(void)
{
    return &lock;
}

static struct front *front_of(const void *block)
{
    return (struct front *)((uintptr_t)block - sizeof(struct front));
}

/* The byte right before the block, which is hit most often, is none that programs write. */
static uint64_t seal(const void *block, uint64_t n_bytes, uint64_t kind)
{
    uint64_t mixed = kind ^ ((uintptr_t)block * UINT64_C(0x9e3779b97f4a7c15)) ^ n_bytes;
    return mixed >> 8 | SEAL_LAST_BYTE << 56;
}

static bool has_seal(const void *block, uint64_t kind)
{
    const struct front *front = front_of(block);
    return front->seal == seal(block, front->n_bytes, kind);
}

static bool is_filled(const unsigned char *bytes, size_t n, unsigned char with)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != with)
            return false;
    }
    return true;
}

/* Bytes from the program's address to the end of the heap's block. */
static size_t room_of(const void *block)
{
    char *start = heap_block_start(block);
    return heap_usable(start) - (size_t)((const char *)block - start);
}

void guard_init(void)
{
    fence_init();
}

bool guard_owns(const void *pointer)
{
    size_t n_bytes;
    return fence_contains(pointer) && fence_find(pointer, &n_bytes) != MISUSE_NOT_LIVE;
}

/* Of a large one the ends, so that what the program leaves untouched costs no memory. */
static void fill_new(char *block, size_t n_bytes)
{
    if (n_bytes <= 2 * JUNK_END_BYTES) {
        memset(block, JUNK_NEW, n_bytes);
    } else {
        memset(block, JUNK_NEW, JUNK_END_BYTES);
        memset(block + n_bytes - JUNK_END_BYTES, JUNK_NEW, JUNK_END_BYTES);
    }
}

static void *allocate_fenced(size_t n_bytes, size_t alignment, bool zero)
{
    if (alignment > FENCE_MAX_ALIGNMENT)
        return NULL;
    void *overwritten = NULL;
    lock_acquire(&lock);
    int misuse = fence_check_recent(&overwritten);
    void *block = misuse == FENCE_OK ? fence_allocate(n_bytes, alignment) : NULL;
    lock_release(&lock);
    if (misuse != FENCE_OK)
        fence_abort(misuse, overwritten);
    if (block && !zero)
        fill_new(block, n_bytes);
    return block;
}

static void free_fenced(void *block)
{
    void *culprit = block;
    lock_acquire(&lock);
    int misuse = fence_free(block);
    if (misuse == FENCE_OK)
        misuse = fence_check_recent(&culprit);
    lock_release(&lock);
    if (misuse != FENCE_OK)
        fence_abort(misuse, culprit);
}

static size_t fenced_bytes(const void *block)
{
    size_t n_bytes;
    lock_acquire(&lock);
    int misuse = fence_find(block, &n_bytes);
    lock_release(&lock);
    if (misuse != FENCE_OK)
        fence_abort(misuse, block);
    return n_bytes;
}

static void *allocate_guarded(size_t n_bytes, size_t alignment, bool zero)
{
    bool is_zero;
    size_t front_bytes = alignment > sizeof(struct front) ? alignment : sizeof(struct front);
    if (n_bytes > PTRDIFF_MAX - GUARD_MAX_ALIGNMENT - BACK_MIN_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    if (alignment > GUARD_MAX_ALIGNMENT) {
        void *bare = heap_allocate(n_bytes, alignment, false, &is_zero);
        return bare && zero ? memset(bare, 0, n_bytes) : bare;
    }
    char *start = heap_allocate(front_bytes + n_bytes + BACK_MIN_BYTES, alignment, false, &is_zero);
    if (!start)
        return NULL;
    if (!heap_block_start(start)) /* the last resort's: without guards */
        return zero ? memset(start, 0, n_bytes) : start;
    char *block = start + front_bytes;
    front_of(block)->n_bytes = n_bytes;
    front_of(block)->seal = seal(block, n_bytes, SEAL_LIVE);
    if (!is_zero || !zero)
        memset(block, zero ? 0 : JUNK_NEW, n_bytes);
    size_t back = room_of(block) - n_bytes;
    memset(block + n_bytes, BACK_BYTE, back < JUNK_MAX_BYTES ? back : JUNK_MAX_BYTES);
    return block;
}

void *guard_allocate(size_t n_bytes, size_t alignment, bool zero)
{
    void *block = allocate_fenced(n_bytes, alignment, zero);
    return block ? block : allocate_guarded(n_bytes, alignment, zero);
}

/* Is it a block without guards? Aborts if it is no live block at all. */
static bool is_bare(const void *block)
{
    char *start = heap_block_start(block);
    if (!start)
        return true;
    if (start == block) {
        if (has_seal(start + sizeof(struct front), SEAL_LIVE))
            misuse_abort(MISUSE_INTERIOR, block); /* at the guard of a block */
        return true;
    }
    if ((uintptr_t)block % 16 != 0)
        misuse_abort(MISUSE_INTERIOR, block);
    if (has_seal(block, SEAL_FREED))
        misuse_abort(MISUSE_DOUBLE_FREE, block);
    if (!has_seal(block, SEAL_LIVE)) {
        /* The usual place of a block in here has its seal: this pointer is what is wrong. */
        bool is_interior = has_seal(start + sizeof(struct front), SEAL_LIVE) &&
                           start + sizeof(struct front) != block;
        misuse_abort(is_interior ? MISUSE_INTERIOR : MISUSE_UNDERFLOW, block);
    }
    return false;
}

static void check_back(const void *block)
{
    size_t n_bytes = front_of(block)->n_bytes;
    size_t back = room_of(block) - n_bytes;
    if (!is_filled((const unsigned char *)block + n_bytes,
                   back < JUNK_MAX_BYTES ? back : JUNK_MAX_BYTES, BACK_BYTE))
        misuse_abort(MISUSE_OVERFLOW, block);
}

static size_t junk_bytes(const void *block)
{
    size_t n = front_of(block)->n_bytes;
    return n < JUNK_MAX_BYTES ? n : JUNK_MAX_BYTES;
}

static void check_freed(const void *block)
{
    if (!has_seal(block, SEAL_FREED) || !is_filled(block, junk_bytes(block), JUNK_FREED))
        misuse_abort(MISUSE_USE_AFTER_FREE, block);
    check_back(block);
}

static bool is_too_full(void)
{
    return q_count == QUARANTINE_BLOCKS || q_bytes > QUARANTINE_MAX_BYTES;
}

/* The block that has waited longest; under the lock. */
static void *pop(void)
{
    if (q_count == 0)
        return NULL;
    void *block = quarantine[q_first];
    q_first = (q_first + 1) % QUARANTINE_BLOCKS;
    q_count--;
    q_bytes -= front_of(block)->n_bytes;
    return block;
}

void guard_free(void *block)
{
    if (fence_contains(block)) {
        free_fenced(block);
        return;
    }
    if (!block || is_bare(block)) {
        heap_free(block);
        return;
    }
    check_back(block);
    struct front *front = front_of(block);
    memset(block, JUNK_FREED, junk_bytes(block));
    front->seal = seal(block, front->n_bytes, SEAL_FREED);

    for (;;) {
        lock_acquire(&lock);
        void *overdue = is_too_full() ? pop() : NULL;
        if (!overdue) {
            quarantine[(q_first + q_count++) % QUARANTINE_BLOCKS] = block;
            q_bytes += front->n_bytes;
        }
        lock_release(&lock);
        if (!overdue)
            return;
        check_freed(overdue);
        front_of(overdue)->seal = 0;
        heap_free(heap_block_start(overdue));
    }
}

void *guard_resize(void *block, size_t n_bytes)
{
    size_t n_old = guard_usable(block);
    void *there = guard_allocate(n_bytes, 16, false);
    if (!there)
        return NULL;
    memcpy(there, block, n_old < n_bytes ? n_old : n_bytes);
    guard_free(block);
    return there;
}

size_t guard_usable(const void *block)
{
    if (fence_contains(block))
        return fenced_bytes(block);
    return is_bare(block) ? heap_usable(block) : front_of(block)->n_bytes;
}

void guard_check_size(const void *block, size_t n_bytes)
{
    if (fence_contains(block) && fenced_bytes(block) != n_bytes)
        fence_abort(MISUSE_SIZE, block);
    if (!fence_contains(block) && !is_bare(block) && front_of(block)->n_bytes != n_bytes)
        misuse_abort(MISUSE_SIZE, block);
}

void guard_check_all(void)
{
    void *block;
    lock_acquire(&lock);
    uint32_t count = q_count;
    int misuse = fence_check_all(&block);
    lock_release(&lock);
    if (misuse != FENCE_OK)
        fence_abort(misuse, block);
    /* At exit, and others may still free: each block is taken out, so that nobody else gives it
     * back to the heap while it is looked at. */
    for (uint32_t i = 0; i < count; i++) {
        lock_acquire(&lock);
        block = pop();
        lock_release(&lock);
        if (!block)
            return;
        check_freed(block);
    }
}
