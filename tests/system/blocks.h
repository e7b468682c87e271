/*
 * blocks: blocks of the malloc family with a pattern in each, for test programs that run on
 * whatever allocator there is: made, resized and freed by any of its functions, at random sizes and
 * alignments, and every byte checked.
 *
 * Two blocks that overlap, a block that moves while it is held, or memory that is taken away
 * beneath it, all show as a wrong byte. Also checked: alignment, usable size, that calloc's memory
 * is zero, errno. Allocates nothing itself. Any fault ends in abort() with what was wrong.
 */
#ifndef HAKMEM_TESTS_BLOCKS_H
#define HAKMEM_TESTS_BLOCKS_H

#include "tests/system/random.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MIN_ALIGN = 16 };

struct block {
    unsigned char *bytes; /* NULL: none here */
    size_t n_bytes;       /* as asked for */
    size_t n_filled;      /* of the pattern: n_bytes, or the usable size */
    size_t align;         /* as asked for, 0: none */
    uint64_t key;         /* of the pattern */
};

static uint64_t max_live_bytes; /* the program sets it before it starts threads */
static uint64_t live_bytes;     /* relaxed: a bound, not a count to rely on */
static uint64_t next_key = 1;   /* relaxed: only has to be unique */

/* C23; not in every C library. */
static void (*sized_free)(void *, size_t);
static void (*aligned_sized_free)(void *, size_t, size_t);
/* libhakmem promises to leave errno alone on success; the C library does not. */
static bool keeps_errno;
/* Walks the heap's invariants, in debug builds of libhakmem. */
static bool (*heap_is_valid)(void);

static void blocks_init(void)
{
    sized_free = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    aligned_sized_free =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    keeps_errno = dlsym(RTLD_DEFAULT, "hak_stats") != NULL;
    heap_is_valid = (bool (*)(void))dlsym(RTLD_DEFAULT, "hak_debug_heap_is_valid");
}

static void die(const char *format, ...)
{
    char text[300];
    va_list arguments;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* write() is a cancellation point */
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)!write(2, "wrong: ", 7);
    (void)!write(2, text, (size_t)n);
    (void)!write(2, "\n", 1);
    abort();
}

static size_t random_below(uint64_t *state, size_t n)
{
    return n ? (size_t)((random_next(state) >> 11) % n) : 0;
}

/* ---- sizes ---- */

/* Around the places where an allocator's ways part. */
static size_t size_at_border(uint64_t *random)
{
    static const size_t borders[] = {
        16,        64,         128,     256,     512,     1024,    1040,
        2048,      4096,       8192,    16384,   32768,   65536,   2 * 65536,
        4 * 65536, 512 * 1024, 1 << 20, 2 << 20, 3 << 20, 4 << 20, (2 << 20) - 65536,
    };
    /* Small ones more often: they are many, and large ones take long to fill and check. */
    size_t border = borders[random_below(
        random, 1 + random_below(random, sizeof(borders) / sizeof(borders[0])))];
    return border - 17 + random_below(random, 34) + (border == 16);
}

static size_t size_random(uint64_t *random)
{
    switch (random_below(random, 64)) {
    case 0:
        return 0;
    case 1 ... 8:
        return 1 + random_below(random, 32);
    case 9 ... 28:
        return 1 + random_below(random, 256);
    case 29 ... 44:
        return 1 + random_below(random, 2048);
    case 45 ... 52:
        return 1 + random_below(random, 16384);
    case 53 ... 57:
        return size_at_border(random);
    case 58 ... 60:
        return 1 + random_below(random, 65536);
    case 61 ... 62:
        return 1 + random_below(random, 300 * 1024);
    default:
        break;
    }
    switch (random_below(random, 128)) {
    case 0:
        return 1 + random_below(random, 64 << 20);
    case 1 ... 8:
        return 1 + random_below(random, 8 << 20);
    case 9 ... 28:
        return 1 + random_below(random, 2 << 20);
    default:
        return 1 + random_below(random, 4096);
    }
}

static size_t align_random(uint64_t *random)
{
    size_t n = random_below(random, 32);
    if (n < 20)
        return sizeof(void *) << random_below(random, 5);
    if (n < 30)
        return (size_t)64 << random_below(random, 8);
    return (size_t)1 << (16 + random_below(random, 7));
}

/* ---- the pattern ---- */

static uint64_t pattern_word(uint64_t key, size_t i)
{
    return (key * UINT64_C(0x9e3779b97f4a7c15) ^ (i * UINT64_C(0xd6e8feb86659fd93))) |
           0x0101010101010101;
}

static void pattern_fill(struct block *b, size_t from)
{
    size_t i = from & ~(size_t)7;
    for (; i + 8 <= b->n_filled; i += 8) {
        uint64_t word = pattern_word(b->key, i / 8);
        memcpy(b->bytes + i, &word, 8);
    }
    uint64_t word = pattern_word(b->key, i / 8);
    memcpy(b->bytes + i, &word, b->n_filled - i);
}

/* The first `n` bytes of `bytes` are the pattern of `b`. */
static void pattern_check(const struct block *b, const unsigned char *bytes, size_t n,
                          const char *when)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = pattern_word(b->key, i / 8);
        if (n - i >= 8 && memcmp(bytes + i, &word, 8) == 0)
            continue;
        const unsigned char *expected = (const unsigned char *)&word;
        for (size_t j = 0; j < 8 && i + j < n; j++)
            if (bytes[i + j] != expected[j])
                die("%s: byte %zu of %p (%zu bytes, %zu filled, align %zu) is 0x%02x, not 0x%02x",
                    when, i + j, (void *)bytes, b->n_bytes, b->n_filled, b->align, bytes[i + j],
                    expected[j]);
    }
}

static void zero_check(const unsigned char *bytes, size_t n, size_t n_asked)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i])
            die("calloc(%zu): byte %zu of %p is 0x%02x", n_asked, i, (void *)bytes, bytes[i]);
}

/* ---- operations ---- */

/* A fresh block: checks what the allocator promised of it, and gives it a pattern. */
static void block_adopt(struct block *b, void *p, size_t n_bytes, size_t align,
                        const char *function, uint64_t *random)
{
    if (!p)
        die("%s(%zu) align %zu: %s", function, n_bytes, align, strerror(errno));
    size_t usable = malloc_usable_size(p);
    if (usable < n_bytes)
        die("%s(%zu): usable size of %p is %zu", function, n_bytes, p, usable);
    size_t promised = align ? align : n_bytes >= MIN_ALIGN ? MIN_ALIGN : 8;
    if ((uintptr_t)p & (promised - 1))
        die("%s(%zu): %p is not aligned to %zu", function, n_bytes, p, promised);
    b->bytes = p;
    b->n_bytes = n_bytes;
    b->align = align;
    b->n_filled = random_below(random, 2) ? n_bytes : usable;
    b->key = __atomic_add_fetch(&next_key, 1, __ATOMIC_RELAXED);
    pattern_fill(b, 0);
    __atomic_add_fetch(&live_bytes, usable, __ATOMIC_RELAXED);
}

static void block_drop(struct block *b)
{
    __atomic_sub_fetch(&live_bytes, malloc_usable_size(b->bytes), __ATOMIC_RELAXED);
    b->bytes = NULL;
}

static void block_calloc(struct block *b, size_t n, uint64_t *random)
{
    size_t each = 1 + random_below(random, 24);
    size_t count = n / each;
    unsigned char *p = calloc(count, each);
    if (p)
        zero_check(p, count * each, count * each);
    block_adopt(b, p, count * each, 0, "calloc", random);
}

static void block_new(struct block *b, uint64_t *random)
{
    size_t n = size_random(random);
    size_t align = align_random(random);
    void *p = NULL;
    errno = 4242;
    switch (random_below(random, 16)) {
    case 0 ... 6:
        block_adopt(b, malloc(n), n, 0, "malloc", random);
        break;
    case 7 ... 9:
        block_calloc(b, n, random);
        break;
    case 10:
        block_adopt(b, realloc(NULL, n), n, 0, "realloc of NULL", random);
        break;
    case 11:
        n = (n + align - 1) & ~(align - 1);
        block_adopt(b, aligned_alloc(align, n), n, align, "aligned_alloc", random);
        break;
    case 12:
        if (posix_memalign(&p, align, n))
            die("posix_memalign(%zu, %zu) fails", align, n);
        block_adopt(b, p, n, align, "posix_memalign", random);
        break;
    case 13:
        block_adopt(b, memalign(align, n), n, align, "memalign", random);
        break;
    case 14:
        block_adopt(b, valloc(n), n, (size_t)getpagesize(), "valloc", random);
        break;
    default: {
        size_t page = (size_t)getpagesize();
        block_adopt(b, pvalloc(n), (n + page - 1) & ~(page - 1), page, "pvalloc", random);
    }
    }
    if (keeps_errno && errno != 4242)
        die("errno was %d after a success", errno);
}

static void block_free(struct block *b, uint64_t *random)
{
    pattern_check(b, b->bytes, b->n_filled, "before free");
    void *p = b->bytes;
    block_drop(b);
    errno = 4343;
    if (sized_free && !b->align && random_below(random, 4) == 0)
        sized_free(p, b->n_bytes);
    else if (aligned_sized_free && b->align && random_below(random, 4) == 0)
        aligned_sized_free(p, b->align, b->n_bytes);
    else
        free(p);
    if (errno != 4343)
        die("free changed errno to %d", errno);
}

static void block_resize(struct block *b, uint64_t *random)
{
    size_t n = size_random(random);
    /* Growth by a little or by doubling is what programs do most. */
    switch (random_below(random, 4)) {
    case 0:
        n = b->n_bytes + random_below(random, 128);
        break;
    case 1:
        n = b->n_bytes < (8 << 20) ? b->n_bytes * 2 : b->n_bytes / 2;
        break;
    default:
        break;
    }
    if (n == 0)
        n = 1; /* realloc(p, 0) is not this model's */
    pattern_check(b, b->bytes, b->n_filled, "before realloc");
    struct block old = *b;
    block_drop(b);
    errno = 4444;
    unsigned char *p;
    if (random_below(random, 4) == 0)
        p = reallocarray(old.bytes, n, 1);
    else
        p = realloc(old.bytes, n);
    if (keeps_errno && errno != 4444)
        die("realloc changed errno to %d on success", errno);
    if (p)
        pattern_check(&old, p, old.n_bytes < n ? old.n_bytes : n, "after realloc");
    block_adopt(b, p, n, 0, "realloc", random);
}

/* What happens to a block next, by a number below 16. */
static void block_step(struct block *b, uint64_t *random, size_t choice, bool shrinking)
{
    bool full = __atomic_load_n(&live_bytes, __ATOMIC_RELAXED) > max_live_bytes;
    if (!b->bytes && !full && (!shrinking || choice < 4))
        block_new(b, random);
    else if (b->bytes && (shrinking || full || choice < 9))
        block_free(b, random);
    else if (b->bytes && choice < 13)
        block_resize(b, random);
    else if (b->bytes)
        pattern_check(b, b->bytes, b->n_filled, "while held");
}

#endif
