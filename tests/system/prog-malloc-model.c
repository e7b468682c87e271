/*
 * A randomised model of the malloc family, for whatever allocator this program runs on.
 *
 *   prog-malloc-model SECONDS THREADS SEED MAX_LIVE_MIB
 *
 * Each thread holds a table of blocks and does random operations on it. Every block's bytes follow
 * a pattern of its own, as far as was asked for or as far as malloc_usable_size() says, and every
 * byte is checked before the block is resized or freed: two blocks that overlap, a block that moves
 * while it is held, or memory that is taken away beneath it, all show as a wrong byte. Also
 * checked: alignment, usable size, that calloc's memory is zero (all freed memory is dirty), errno.
 *
 * Blocks change hands through a table of exchange places, and threads end and are replaced while
 * blocks of theirs live. All threads alternate between growing and shrinking, with a pause at the
 * bottom, so that memory becomes entirely free and is wanted again: that is when a daemon takes
 * pages back.
 *
 * The model itself allocates nothing: its tables are static. Exit 0, or abort() with what was
 * wrong.
 */
#include "tests/system/random.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_THREADS = 8,
    N_BLOCKS = 1500,      /* per thread */
    N_EXCHANGES = 256,    /* places where threads swap blocks */
    N_LIFE_STEPS = 20000, /* operations until a thread ends and another takes over */
    PHASE_MS = 120,
    MIN_ALIGN = 16,
};

struct block {
    unsigned char *bytes; /* NULL: none here */
    size_t n_bytes;       /* as asked for */
    size_t n_filled;      /* of the pattern: n_bytes, or the usable size */
    size_t align;         /* as asked for, 0: none */
    uint64_t key;         /* of the pattern */
};

struct exchange {
    pthread_mutex_t lock;
    struct block block;
};

struct worker {
    uint64_t random;
    uint64_t n_operations;
    unsigned index;
    struct block blocks[N_BLOCKS];
};

static struct worker workers[MAX_THREADS];
static struct exchange exchanges[N_EXCHANGES];
static unsigned n_threads;
static uint64_t max_live_bytes;
static uint64_t live_bytes;   /* relaxed: a bound, not a count to rely on */
static uint64_t next_key = 1; /* relaxed: only has to be unique */
static double started, seconds;

/* C23; not in every C library. */
static void (*sized_free)(void *, size_t);
static void (*aligned_sized_free)(void *, size_t, size_t);
/* libhakmem promises to leave errno alone on success; the C library does not. */
static bool keeps_errno;
/* Walks the heap's invariants, in debug builds of libhakmem. */
static bool (*heap_is_valid)(void);
static uint64_t n_walks; /* relaxed: a count */

static void die(const char *format, ...)
{
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)!write(2, "malloc-model: ", 14);
    (void)!write(2, text, (size_t)n);
    (void)!write(2, "\n", 1);
    abort();
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
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

/* Whatever lies in a random exchange place becomes ours, and our block goes there. */
static void block_exchange(struct block *b, uint64_t *random)
{
    struct exchange *e = &exchanges[random_below(random, N_EXCHANGES)];
    pthread_mutex_lock(&e->lock);
    struct block theirs = e->block;
    e->block = *b;
    pthread_mutex_unlock(&e->lock);
    *b = theirs;
}

static void worker_step(struct worker *w, bool shrinking)
{
    uint64_t *random = &w->random;
    struct block *b = &w->blocks[random_below(random, N_BLOCKS)];
    size_t choice = random_below(random, 16);
    bool full = __atomic_load_n(&live_bytes, __ATOMIC_RELAXED) > max_live_bytes;
    if (choice < 2)
        block_exchange(b, random);
    else if (!b->bytes && !full && (!shrinking || choice < 4))
        block_new(b, random);
    else if (b->bytes && (shrinking || full || choice < 9))
        block_free(b, random);
    else if (b->bytes && choice < 13)
        block_resize(b, random);
    else if (b->bytes)
        pattern_check(b, b->bytes, b->n_filled, "while held");
    w->n_operations++;
}

static void worker_free_all(struct worker *w)
{
    for (size_t i = 0; i < N_BLOCKS; i++)
        if (w->blocks[i].bytes)
            block_free(&w->blocks[i], &w->random);
    for (size_t i = w->index; i < N_EXCHANGES; i += n_threads) {
        struct block b = {0};
        pthread_mutex_lock(&exchanges[i].lock);
        b = exchanges[i].block;
        exchanges[i].block.bytes = NULL;
        pthread_mutex_unlock(&exchanges[i].lock);
        if (b.bytes)
            block_free(&b, &w->random);
    }
}

/* One thread's life. Odd phases shrink; at the end of one everything is freed, and nobody does
 * anything for a moment. */
static void *worker_live(void *argument)
{
    struct worker *w = argument;
    unsigned long last_phase = 0;
    for (size_t i = 0; i < N_LIFE_STEPS; i++) {
        double elapsed = seconds_now() - started;
        if (elapsed > seconds)
            break;
        unsigned long phase = (unsigned long)(elapsed * 1000) / PHASE_MS;
        if (phase != last_phase && phase % 2 == 0 && last_phase) {
            worker_free_all(w);
            usleep(10000);
        }
        last_phase = phase;
        worker_step(w, phase % 2 == 1);
        if (heap_is_valid && i % 512 == 0) {
            if (!heap_is_valid())
                die("the heap's invariants do not hold");
            __atomic_add_fetch(&n_walks, 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

static void *worker_lives(void *argument)
{
    while (seconds_now() - started < seconds) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker_live, argument))
            die("pthread_create fails");
        pthread_join(thread, NULL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s SECONDS THREADS SEED MAX_LIVE_MIB\n", argv[0]);
        return 2;
    }
    seconds = atof(argv[1]);
    n_threads = (unsigned)atoi(argv[2]);
    uint64_t seed = strtoull(argv[3], NULL, 10);
    max_live_bytes = strtoull(argv[4], NULL, 10) << 20;
    if (seconds <= 0 || n_threads < 1 || n_threads > MAX_THREADS || !max_live_bytes)
        return 2;
    sized_free = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    aligned_sized_free =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    keeps_errno = dlsym(RTLD_DEFAULT, "hak_stats") != NULL;
    heap_is_valid = (bool (*)(void))dlsym(RTLD_DEFAULT, "hak_debug_heap_is_valid");

    for (size_t i = 0; i < N_EXCHANGES; i++)
        pthread_mutex_init(&exchanges[i].lock, NULL);
    started = seconds_now();
    pthread_t threads[MAX_THREADS];
    for (unsigned i = 0; i < n_threads; i++) {
        workers[i].index = i;
        workers[i].random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
        if (pthread_create(&threads[i], NULL, worker_lives, &workers[i]))
            die("pthread_create fails");
    }
    uint64_t n_operations = 0;
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        n_operations += workers[i].n_operations;
    }
    for (unsigned i = 0; i < n_threads; i++)
        worker_free_all(&workers[i]);
    if (live_bytes)
        die("%llu bytes are still counted live", (unsigned long long)live_bytes);
    printf("%llu operations, %u threads%s\n", (unsigned long long)n_operations, n_threads,
           sized_free ? ", free_sized" : "");
    if (heap_is_valid)
        printf("invariants walked %llu times\n", (unsigned long long)n_walks);
    return n_operations == 0;
}
