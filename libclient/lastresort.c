/* See lastresort.h. */
#include "libclient/lastresort.h"

#include <dlfcn.h>
#include <string.h>

#include "common/atomic.h"

/*
 * glibc has its functions under these names, too. Weak: they may be missing. Not by dlsym(): malloc
 * is called before that works.
 */
extern void *__libc_malloc(size_t n_bytes) __attribute__((weak));
extern void *__libc_calloc(size_t n, size_t n_bytes) __attribute__((weak));
extern void *__libc_memalign(size_t alignment, size_t n_bytes) __attribute__((weak));
extern void __libc_free(void *block) __attribute__((weak));

static uint64_t n_blocks;

uint64_t lastresort_n_blocks(void)
{
    return atomic_load_relaxed(&n_blocks); /* a figure */
}

void *lastresort_allocate(size_t n_bytes, size_t alignment, bool zero)
{
    if (!__libc_malloc || !__libc_calloc || !__libc_memalign || !__libc_free)
        return NULL;
    void *block = zero              ? __libc_calloc(1, n_bytes)
                  : alignment <= 16 ? __libc_malloc(n_bytes)
                                    : __libc_memalign(alignment, n_bytes);
    /* Relaxed: whoever frees the block has it from whoever got it here. */
    if (block)
        atomic_add_relaxed(&n_blocks, 1);
    return block;
}

static bool has_served(void)
{
    return atomic_load_relaxed(&n_blocks) > 0; /* see above */
}

bool lastresort_free(void *block)
{
    if (!has_served())
        return false;
    __libc_free(block);
    return true;
}

/* This one has no other name. */
bool lastresort_usable(const void *block, size_t *n_bytes)
{
    size_t (*usable)(void *);
    if (!has_served())
        return false;
    void *symbol = dlsym(RTLD_NEXT, "malloc_usable_size");
    if (!symbol)
        return false;
    memcpy(&usable, &symbol, sizeof(usable));
    *n_bytes = usable((void *)(uintptr_t)block);
    return true;
}
