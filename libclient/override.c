/*
 * The malloc family, in place of libc's.
 *
 * malloc() and free() are the thread cache's fast path and one call otherwise. What they do beyond
 * that, and what the rest of the family does, is heap.c's, or guard.c's under HAKMEM_CHECK=1.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "libclient/cache.h"
#include "libclient/glue.h"
#include "libclient/guard.h"
#include "libclient/heap.h"
#include "libclient/misuse.h"
#include "libclient/override.h"
#include "libclient/settings.h"
#include "libclient/window.h"

#define EXPORT __attribute__((visibility("default")))
#define COLD   __attribute__((noinline, cold))

static COLD void *allocate_slow(size_t n_bytes)
{
    bool zero;
    void *block = cache_take_medium(n_bytes);
    if (block)
        return block;
    if (check_unlikely(settings.check))
        return guard_allocate(n_bytes, 16, false);
    return heap_allocate(n_bytes, 16, false, &zero);
}

static COLD void free_slow(void *block)
{
    if (!block)
        return; /* frequent, and errno costs a call */
    int saved_errno = errno;
    if (check_unlikely(settings.check))
        guard_free(block);
    else
        heap_free(block);
    errno = saved_errno;
}

EXPORT void *malloc(size_t n_bytes)
{
    void *block = cache_take(n_bytes);
    if (check_likely(block))
        return block;
    return allocate_slow(n_bytes);
}

EXPORT void free(void *block)
{
    if (check_unlikely(!cache_give(block)))
        free_slow(block);
}

static bool overflows(size_t n, size_t size, size_t *n_bytes)
{
    if (!__builtin_mul_overflow(n, size, n_bytes))
        return false;
    errno = ENOMEM;
    return true;
}

EXPORT void *calloc(size_t n, size_t size)
{
    size_t n_bytes;
    if (overflows(n, size, &n_bytes))
        return NULL;
    void *block = cache_take(n_bytes);
    if (check_unlikely(!block))
        block = cache_take_medium(n_bytes);
    if (check_likely(block))
        return memset(block, 0, n_bytes);
    return check_unlikely(settings.check) ? guard_allocate(n_bytes, 16, true)
                                          : heap_allocate_zeroed(n_bytes);
}

EXPORT void *realloc(void *block, size_t n_bytes)
{
    if (!block)
        return malloc(n_bytes);
    if (n_bytes == 0) {
        free(block);
        return NULL; /* as glibc does, and programs rely on */
    }
    return check_unlikely(settings.check) ? guard_resize(block, n_bytes)
                                          : heap_resize(block, n_bytes);
}

EXPORT void *reallocarray(void *block, size_t n, size_t size)
{
    size_t n_bytes;
    return overflows(n, size, &n_bytes) ? NULL : realloc(block, n_bytes);
}

static bool is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static COLD void *allocate_aligned_slow(size_t alignment, size_t n_bytes)
{
    bool zero;
    if (check_unlikely(settings.check))
        return guard_allocate(n_bytes, alignment, false);
    return heap_allocate(n_bytes, alignment, false, &zero);
}

static inline void *allocate_aligned(size_t alignment, size_t n_bytes)
{
    if (alignment <= 16)
        return malloc(n_bytes);
    if (check_likely((alignment | n_bytes) <= CACHE_FAST_MAX_BYTES)) {
        void *block = cache_take(sizeclass_aligned_bytes(n_bytes, alignment));
        if (check_likely(block))
            return block;
    }
    return allocate_aligned_slow(alignment, n_bytes);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t n_bytes)
{
    if (!is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved_errno = errno; /* POSIX: an error is returned, errno stays */
    void *block = allocate_aligned(alignment, n_bytes);
    if (check_unlikely(!block)) {
        errno = saved_errno;
        return ENOMEM;
    }
    *out = block;
    return 0;
}

EXPORT void *aligned_alloc(size_t alignment, size_t n_bytes)
{
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return allocate_aligned(alignment, n_bytes);
}

EXPORT void *memalign(size_t alignment, size_t n_bytes)
{
    /* glibc rounds other alignments up to a power of two. */
    size_t rounded = 16;
    while (rounded < alignment && rounded <= SIZE_MAX / 4)
        rounded *= 2;
    if (alignment > rounded) {
        errno = EINVAL;
        return NULL;
    }
    return allocate_aligned(rounded, n_bytes);
}

EXPORT void *valloc(size_t n_bytes)
{
    return allocate_aligned(glue_page_bytes(), n_bytes);
}

EXPORT void *pvalloc(size_t n_bytes)
{
    size_t page = glue_page_bytes();
    if (n_bytes > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return allocate_aligned(page, (n_bytes + page - 1) / page * page);
}

static COLD size_t usable_slow(const void *block)
{
    if (!block)
        return 0;
    return check_unlikely(settings.check) ? guard_usable(block) : heap_usable(block);
}

/* A program that keeps count of its memory, as redis does, calls this as often as malloc and free
 * together: the class says it all, and the block's span is not looked at. */
EXPORT size_t malloc_usable_size(void *block)
{
    unsigned class = window_fast_class(block);
    return check_likely(sizeclass_is_small(class)) ? sizeclasses[class].block_bytes
                                                   : usable_slow(block);
}

/* C23. The size must be the one asked for: a block of that size has the class that this block has.
 */
EXPORT void free_sized(void *block, size_t n_bytes)
{
    if (block && check_unlikely(settings.check))
        guard_check_size(block, n_bytes);
    else if (block && n_bytes > heap_usable(block))
        misuse_abort(MISUSE_SIZE, block);
    free(block);
}

EXPORT void free_aligned_sized(void *block, size_t alignment, size_t n_bytes)
{
    if (block && alignment > 1 && (uintptr_t)block % alignment != 0)
        misuse_abort(MISUSE_SIZE, block);
    free_sized(block, n_bytes);
}

/* Gone from glibc's headers since 2.26; old programs may still look for it. */
EXPORT void cfree(void *block)
{
    free(block);
}
