/*
 * Thread caches: which requests the fast path serves, that stacks stay within their bounds, that
 * threads leave nothing behind. The fast paths are the inline functions that malloc() and free()
 * consist of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/cache.h"
#include "libclient/firstblocks.h"
#include "libclient/firstregion.h"
#include "libclient/heap.h"
#include "libclient/span.h"

static __thread uint64_t n_fast, n_slow;

static void *take(size_t n_bytes)
{
    bool zero;
    void *block = cache_take(n_bytes);
    if (block) {
        n_fast++;
        return block;
    }
    n_slow++;
    return heap_allocate(n_bytes, 16, false, &zero);
}

static void give(void *block)
{
    if (!cache_give(block))
        heap_free(block);
}

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* The workload on which the allocator that this one replaces fell off its fast path: just above
 * 1024 bytes. */
static void sizes_above_1024_stay_on_the_fast_path(void **state)
{
    (void)state;
    enum { N_SLOTS = 8192 };
    static void *slots[N_SLOTS];
    uint64_t random = 42;
    for (int round = 0; round < 2; round++) {
        n_fast = n_slow = 0;
        for (int i = 0; i < 2000000; i++) {
            uint64_t r = random_next(&random);
            size_t slot = (r >> 20) % N_SLOTS;
            if (slots[slot]) {
                give(slots[slot]);
                slots[slot] = NULL;
            } else {
                slots[slot] = take(1025 + r % 15);
                assert_non_null(slots[slot]);
                memset(slots[slot], 1, 16);
            }
        }
    }
    /* Steady state: what is not fast is a refill, and a refill brings a batch. */
    assert_true(n_fast + n_slow > 900000);
    assert_true(n_slow * 100 < n_fast);
    for (size_t i = 0; i < N_SLOTS; i++)
        if (slots[i])
            give(slots[i]);
}

static void every_size_below_the_fast_bound_can_be_fast(void **state)
{
    (void)state;
    for (size_t n_bytes = 0; n_bytes <= CACHE_FAST_MAX_BYTES; n_bytes++) {
        void *first; /* the first few of a class are never fast */
        while (window_class(first = take(n_bytes)) == CLASS_FIRST)
            give(first);
        give(first);
        give(take(n_bytes)); /* leaves at least one block of the class in its stack */
        void *block = cache_take(n_bytes);
        assert_non_null(block);
        assert_int_equal(window_class(block), sizeclass_of(n_bytes));
        assert_true(cache_give(block));
    }
    assert_null(cache_take(CACHE_FAST_MAX_BYTES + 1));
}

static void what_is_no_small_block_is_never_cached(void **state)
{
    (void)state;
    bool zero;
    int on_the_stack;
    void *large = heap_allocate(200000, 16, false, &zero);
    void *huge = heap_allocate(3000000, 16, false, &zero);
    assert_false(cache_give(large));
    assert_false(cache_give(huge));
    assert_false(cache_give(&on_the_stack));
    assert_false(cache_give(NULL));
    heap_free(large);
    heap_free(huge);
}

static void *free_only(void *data)
{
    void **blocks = data;
    for (int i = 0; i < 20000; i++)
        give(blocks[i]);
    return NULL;
}

/* A thread that only frees keeps no more than its stack holds, and nothing once it has ended. */
static void a_thread_that_only_frees_does_not_hoard(void **state)
{
    (void)state;
    static void *blocks[20000];
    unsigned class = sizeclass_of(256);
    for (int i = 0; i < 20000; i++)
        blocks[i] = take(256);
    cache_flush_own();
    uint64_t n_spans, n_before, n_after;
    span_stats(class, &n_spans, &n_before);
    assert_int_equal(n_before, 20000);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_only, blocks), 0);
    pthread_join(thread, NULL);
    span_stats(class, &n_spans, &n_after);
    assert_int_equal(n_after, 0);
    assert_int_equal(cache_cached_blocks(class), 0);
}

static void *use_all_classes(void *data)
{
    (void)data;
    void *blocks[N_SMALL + 1];
    for (int round = 0; round < 3; round++) {
        for (unsigned class = 1; class <= N_SMALL; class ++)
            blocks[class] = take(sizeclass_bytes(class));
        for (unsigned class = 1; class <= N_SMALL; class ++)
            give(blocks[class]);
    }
    /* What was just freed is served again without a slow path: no stack is full or empty that
     * should not be. */
    n_slow = 0;
    for (unsigned class = 1; sizeclass_bytes(class) <= CACHE_FAST_MAX_BYTES; class ++)
        give(take(sizeclass_bytes(class)));
    return n_slow == 0 ? data : NULL;
}

/* A thread gets the cache that another left, with that one's stacks at whatever limits. */
static void a_cache_serves_one_thread_after_another(void **state)
{
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        void *ok = NULL;
        assert_int_equal(pthread_create(&thread, NULL, use_all_classes, &n_slow), 0);
        pthread_join(thread, &ok);
        assert_non_null(ok);
    }
    (void)state;
}

static pthread_key_t late_key;

static void free_late(void *block)
{
    static __thread int round;
    /* Again and again, until after the library's own destructor has run. */
    if (++round < _POSIX_THREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(late_key, block);
    else
        give(block);
    give(take(100));
}

static void *leave_late(void *data)
{
    (void)data;
    pthread_setspecific(late_key, take(100));
    return NULL;
}

static void frees_after_thread_exit_go_home(void **state)
{
    (void)state;
    unsigned class = sizeclass_of(100);
    uint64_t n_spans, n_out;
    cache_flush_own();
    assert_int_equal(pthread_key_create(&late_key, free_late), 0);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, leave_late, NULL), 0);
        pthread_join(thread, NULL);
    }
    span_stats(class, &n_spans, &n_out);
    assert_int_equal(n_out, 0);
}

/* Each thread would keep megabytes of these. */
static void the_largest_classes_are_not_cached(void **state)
{
    (void)state;
    firstregion_outgrow(); /* before that they are large blocks */
    for (size_t n_bytes = 140 * 1024; n_bytes <= SMALL_MAX_BYTES; n_bytes += 16 * 1024) {
        unsigned class = sizeclass_of(n_bytes);
        uint64_t n_spans, n_out;
        enum { N = 20 }; /* the first ones are large blocks */
        void *blocks[N];
        for (unsigned i = 0; i < N; i++)
            blocks[i] = take(n_bytes);
        assert_int_equal(window_class(blocks[N - 1]), class);
        for (unsigned i = 0; i < N; i++)
            give(blocks[i]);
        span_stats(class, &n_spans, &n_out);
        assert_int_equal(n_out, 0);
        assert_true(cache_fill(class, 8));
        span_stats(class, &n_spans, &n_out);
        assert_int_equal(n_out, 0);
    }
}

int main(void)
{
    if (!heap_is_ready())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_above_1024_stay_on_the_fast_path),
        cmocka_unit_test(every_size_below_the_fast_bound_can_be_fast),
        cmocka_unit_test(what_is_no_small_block_is_never_cached),
        cmocka_unit_test(a_thread_that_only_frees_does_not_hoard),
        cmocka_unit_test(the_largest_classes_are_not_cached),
        cmocka_unit_test(a_cache_serves_one_thread_after_another),
        cmocka_unit_test(frees_after_thread_exit_go_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
