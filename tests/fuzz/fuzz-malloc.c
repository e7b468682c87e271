/*
 * Sequences of calls of the malloc family against the library's objects, on private memory.
 * override.c is compiled for this under other names (fuzz.mk), so that the fuzzer itself, and the
 * sanitizers, keep their own malloc.
 *
 * Each block has a pattern, checked before it is resized or freed. At the end of an input nothing
 * may be live, and the heap's invariants hold.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmem.h"
#include "libclient/cache.h"
#include "libclient/settings.h"
#include "libclient/span.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

void *fuzzed_malloc(size_t);
void fuzzed_free(void *);
void *fuzzed_calloc(size_t, size_t);
void *fuzzed_realloc(void *, size_t);
void *fuzzed_reallocarray(void *, size_t, size_t);
int fuzzed_posix_memalign(void **, size_t, size_t);
void *fuzzed_aligned_alloc(size_t, size_t);
void *fuzzed_memalign(size_t, size_t);
void *fuzzed_valloc(size_t);
void *fuzzed_pvalloc(size_t);
size_t fuzzed_malloc_usable_size(void *);
void fuzzed_free_sized(void *, size_t);

enum { N_BLOCKS = 64, EDGE = 512, MAX_BYTES = 6 << 20, MAX_LIVE = 64 << 20 };

struct block {
    uint8_t *bytes;
    size_t n_bytes;
    bool plain; /* may be freed by its size */
};

struct table {
    struct block blocks[N_BLOCKS];
    size_t live_bytes;
    struct input *in;
    unsigned depth;
};

static uint8_t tag_of(const struct block *b, size_t i)
{
    return (uint8_t)(b->n_bytes * 31 + i * 7 + 1);
}

/* Of large blocks only the ends: what lies between is other tests' business. */
static bool is_looked_at(const struct block *b, size_t i)
{
    return i < EDGE || i + EDGE >= b->n_bytes;
}

static void fill(struct block *b)
{
    for (size_t i = 0; i < b->n_bytes; i++) {
        if (!is_looked_at(b, i))
            i = b->n_bytes - EDGE;
        b->bytes[i] = tag_of(b, i);
    }
}

static void check(const struct block *b, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!is_looked_at(b, i)) {
            i = b->n_bytes - EDGE;
            if (i >= n)
                return;
        }
        check_or_trap(bytes[i] == tag_of(b, i));
    }
}

static size_t size_from(struct input *in)
{
    static const size_t borders[] = {16,      64,     256,   1024,   1040,    4096,
                                     8192,    32768,  65536, 131072, 1 << 20, (2 << 20) - 1,
                                     2 << 20, 4 << 20};
    uint8_t kind = input_byte(in);
    size_t n = kind < 160   ? kind
               : kind < 210 ? input_u16(in) % 9000
               : kind < 240 ? borders[input_byte(in) % 14] + input_byte(in) % 5 - 2
                            : input_u32(in) % MAX_BYTES;
    return n;
}

static void adopt(struct table *t, struct block *b, void *p, size_t n_bytes, size_t align)
{
    check_or_trap(p && (uintptr_t)p % align == 0);
    check_or_trap(fuzzed_malloc_usable_size(p) >= n_bytes);
    check_or_trap(hak_owns(p) == HAK_OWNER_PRIVATE);
    *b = (struct block){.bytes = p, .n_bytes = n_bytes, .plain = align == 16};
    fill(b);
    t->live_bytes += n_bytes;
}

static void allocate(struct table *t, struct block *b)
{
    struct input *in = t->in;
    size_t n = size_from(in), align = (size_t)8 << input_byte(in) % 15;
    void *p = NULL;
    errno = 99;
    switch (input_byte(in) % 8) {
    case 0:
        check_or_trap(fuzzed_posix_memalign(&p, align, n) == 0);
        adopt(t, b, p, n, align);
        break;
    case 1:
        adopt(t, b, fuzzed_aligned_alloc(align, n), n, align);
        break;
    case 2:
        adopt(t, b, fuzzed_memalign(align, n), n, align);
        break;
    case 3:
        p = fuzzed_calloc(n, 1);
        check_or_trap(p);
        for (size_t i = 0; i < n; i++)
            check_or_trap(((uint8_t *)p)[i] == 0);
        adopt(t, b, p, n, 16);
        break;
    case 4:
        adopt(t, b, input_byte(in) % 2 ? fuzzed_valloc(n) : fuzzed_pvalloc(n), n, 4096);
        break;
    case 5:
        adopt(t, b, fuzzed_realloc(NULL, n), n, 16);
        break;
    default:
        adopt(t, b, fuzzed_malloc(n), n, 16);
        break;
    }
    check_or_trap(errno == 99);
}

static void release(struct table *t, struct block *b, bool by_size)
{
    check(b, b->bytes, b->n_bytes);
    t->live_bytes -= b->n_bytes;
    /* Dirty all of it: calloc must not hand that out. */
    memset(b->bytes, 0xff, b->n_bytes);
    errno = 77;
    if (by_size && b->plain)
        fuzzed_free_sized(b->bytes, b->n_bytes);
    else
        fuzzed_free(b->bytes);
    check_or_trap(errno == 77);
    b->bytes = NULL;
}

static void resize(struct table *t, struct block *b)
{
    size_t n = size_from(t->in) + 1;
    struct block old = *b;
    check(&old, old.bytes, old.n_bytes);
    uint8_t *p = n % 2 ? fuzzed_realloc(old.bytes, n) : fuzzed_reallocarray(old.bytes, n / 2, 2);
    check_or_trap(p);
    check(&old, p, old.n_bytes < n ? old.n_bytes : n);
    t->live_bytes -= old.n_bytes;
    adopt(t, b, p, n, 16);
}

static void ask_too_much(struct table *t)
{
    size_t n = SIZE_MAX - input_u32(t->in);
    errno = 0;
    check_or_trap(!fuzzed_malloc(n) && errno == ENOMEM);
    check_or_trap(!fuzzed_calloc(n / 2, 3) && !fuzzed_calloc(1, n));
    check_or_trap(!fuzzed_aligned_alloc((size_t)16 << input_byte(t->in) % 40, n - (n >> 2)));
    check_or_trap(!fuzzed_realloc(NULL, n));
}

static void run(struct table *t, unsigned n_steps);

static void *run_in_thread(void *data)
{
    run(data, 8);
    return NULL;
}

static void run(struct table *t, unsigned n_steps)
{
    for (unsigned step = 0; t->in->n_left > 0 && step < n_steps; step++) {
        uint8_t choice = input_byte(t->in);
        struct block *b = &t->blocks[choice % N_BLOCKS];
        switch (choice / N_BLOCKS) {
        case 0:
        case 1:
            if (!b->bytes && t->live_bytes < MAX_LIVE)
                allocate(t, b);
            else if (b->bytes)
                release(t, b, choice % 2);
            break;
        case 2:
            if (b->bytes)
                resize(t, b);
            break;
        default:
            switch (choice % 8) {
            case 0:
                hak_trim(input_u16(t->in) << 12);
                break;
            case 1:
                ask_too_much(t);
                break;
            case 2:
                hak_ss_prewarm_class(size_from(t->in), input_byte(t->in));
                break;
            case 3:
                cache_flush_own();
                break;
            default:
                if (t->depth++ < 3) {
                    pthread_t thread;
                    check_or_trap(pthread_create(&thread, NULL, run_in_thread, t) == 0);
                    pthread_join(thread, NULL);
                }
            }
        }
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    settings.connect = SETTINGS_CONNECT_OFF;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct input in = {.bytes = bytes, .n_left = n_bytes};
    struct table table = {.in = &in};
    run(&table, 400);
    for (size_t i = 0; i < N_BLOCKS; i++)
        if (table.blocks[i].bytes)
            release(&table, &table.blocks[i], false);
    cache_flush_own();
    struct hak_stats stats;
    check_or_trap(hak_stats(&stats, sizeof(stats)) == 0);
    check_or_trap(stats.large_bytes == 0 && stats.huge_bytes == 0);
    check_or_trap(stats.small_live_bytes == 0);
    check_or_trap(span_bins_are_valid());
    return 0;
}
