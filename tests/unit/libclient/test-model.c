/*
 * A randomised model of the heap, on several threads, in the test's own process: so that the
 * sanitizers see the library's code at work. (tests/system/prog-malloc-model.c is the model of the
 * whole malloc family, on the library as programs have it.)
 *
 * Blocks hold a pattern of their own, checked before they are resized, freed or handed on; they
 * change hands between threads, which end and are replaced. What is said to be zero is; debug
 * builds walk the invariants.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "libclient/cache.h"
#include "libclient/heap.h"
#include "libclient/purge.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/span.h"

enum { N_BLOCKS = 300, N_SHARED = 64, N_STEPS = 15000, N_LIVES = 3, EDGE = 300 };

struct block {
    unsigned char *bytes;
    size_t n_bytes;
    unsigned char tag;
};

static struct block shared[N_SHARED];
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t random_size(uint64_t *random)
{
    unsigned kind = random_next(random) % 100;
    size_t limit = kind < 60 ? 400 : kind < 90 ? 5000 : kind < 98 ? 100000 : 5000000;
    return random_next(random) % limit;
}

/* Of large blocks the ends alone. */
static void for_edges(struct block *b, size_t n, void (*each)(struct block *, size_t, size_t))
{
    if (n <= (size_t)2 * EDGE) {
        each(b, 0, n);
    } else {
        each(b, 0, EDGE);
        each(b, n - EDGE, n);
    }
}

static void write_range(struct block *b, size_t from, size_t to)
{
    memset(b->bytes + from, b->tag, to - from);
}

static void check_range(struct block *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        check_or_trap(b->bytes[i] == b->tag);
}

static void check_zero(struct block *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        check_or_trap(b->bytes[i] == 0);
}

static void make(struct block *b, uint64_t *random)
{
    bool zero = false;
    size_t alignment = random_next(random) % 8 ? 16 : (size_t)16 << random_next(random) % 18;
    b->n_bytes = random_size(random);
    b->tag = (unsigned char)(random_next(random) | 1);
    b->bytes = alignment == 16 ? cache_take(b->n_bytes) : NULL;
    errno = 99;
    if (!b->bytes)
        b->bytes = heap_allocate(b->n_bytes, alignment, false, &zero);
    check_or_trap(b->bytes && errno == 99 && (uintptr_t)b->bytes % alignment == 0);
    check_or_trap(heap_usable(b->bytes) >= b->n_bytes);
    if (zero)
        for_edges(b, b->n_bytes, check_zero);
    for_edges(b, b->n_bytes, write_range);
}

static void end(struct block *b)
{
    for_edges(b, b->n_bytes, check_range);
    errno = 77;
    if (!cache_give(b->bytes))
        heap_free(b->bytes);
    check_or_trap(errno == 77);
    b->bytes = NULL;
}

static void resize(struct block *b, uint64_t *random)
{
    size_t n_bytes = random_size(random) + 1, kept = n_bytes < b->n_bytes ? n_bytes : b->n_bytes;
    for_edges(b, b->n_bytes, check_range);
    b->bytes = heap_resize(b->bytes, n_bytes);
    check_or_trap(b->bytes);
    /* Of what was written, the front is kept for sure. */
    check_range(b, 0, kept < EDGE ? kept : EDGE);
    b->n_bytes = n_bytes;
    for_edges(b, n_bytes, write_range);
}

static void exchange(struct block *b, uint64_t *random)
{
    pthread_mutex_lock(&shared_lock);
    struct block *place = &shared[random_next(random) % N_SHARED];
    struct block theirs = *place;
    *place = *b;
    pthread_mutex_unlock(&shared_lock);
    *b = theirs;
}

static void *live(void *argument)
{
    uint64_t random = (uintptr_t)argument * 0x9e3779b97f4a7c15u + 1;
    struct block *blocks = calloc(N_BLOCKS, sizeof(*blocks));
    for (unsigned step = 0; step < N_STEPS; step++) {
        struct block *b = &blocks[random_next(&random) % N_BLOCKS];
        unsigned choice = random_next(&random) % 8;
        if (choice == 0)
            exchange(b, &random);
        else if (!b->bytes)
            make(b, &random);
        else if (choice < 3)
            resize(b, &random);
        else
            end(b);
        if (step % 4096 == 0) {
            span_trim();
            source_trim(0);
        }
        if (step % 512 == 0)
            purge_all();
#ifdef HAKMEM_DEBUG
        if (step % 64 == 0)
            check_or_trap(span_bins_are_valid() && runs_are_valid());
#endif
    }
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        if (blocks[i].bytes)
            end(&blocks[i]);
    }
    free(blocks);
    return NULL;
}

static void every_byte_is_kept(unsigned n_threads)
{
    pthread_t threads[8];
    for (uintptr_t life = 0; life < N_LIVES; life++) {
        for (uintptr_t i = 0; i < n_threads; i++)
            assert_int_equal(
                pthread_create(&threads[i], NULL, live, (void *)(life * n_threads + i + 1)), 0);
        for (unsigned i = 0; i < n_threads; i++)
            pthread_join(threads[i], NULL);
    }
    for (unsigned i = 0; i < N_SHARED; i++) {
        if (shared[i].bytes)
            end(&shared[i]);
    }
    cache_flush_own();
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        uint64_t n_spans, n_out;
        span_stats(class, &n_spans, &n_out);
        assert_int_equal(n_out, 0);
    }
}

static void on_one_thread(void **state)
{
    (void)state;
    every_byte_is_kept(1);
}

static void on_two_threads(void **state)
{
    (void)state;
    every_byte_is_kept(2);
}

static void on_eight_threads(void **state)
{
    (void)state;
    every_byte_is_kept(8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_one_thread),
        cmocka_unit_test(on_two_threads),
        cmocka_unit_test(on_eight_threads),
    };
    settings.connect = SETTINGS_CONNECT_OFF;
    settings.test_purge = true; /* slow paths do so, too */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
