/*
 * The window: address space that is given up, since the program limits its own, while another
 * thread takes of it. Whether it may is for ThreadSanitizer to say, too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "common/atomic.h"
#include "libclient/cache.h"
#include "libclient/heap.h"
#include "libclient/lock.h"
#include "libclient/source.h"
#include "libclient/window.h"

enum { N_BYTES = 50000, N_CACHES = 200, N_MORE = 64 };

static uint32_t n_taken;

static void *take_arena(void *unused)
{
    (void)unused;
    for (; n_taken < N_CACHES; atomic_add_relaxed(&n_taken, 1)) {
        lock_acquire(cache_lock());
        char *at = window_arena_allocate(N_BYTES);
        lock_release(cache_lock());
        if (!at)
            break;
        memset(at, 7, N_BYTES);
    }
    return NULL;
}

static void the_arena_shrinks_beside_who_takes_of_it(void **state)
{
    (void)state;
    pthread_t other;
    assert_true(heap_is_ready());
    assert_int_equal(pthread_create(&other, NULL, take_arena, NULL), 0);
    while (atomic_load_relaxed(&n_taken) < N_CACHES / 4)
        ;
    for (unsigned i = 0; i < 100; i++)
        source_shrink_window(N_MORE);
    pthread_join(other, NULL);
    /* More than first_arena, and no more than there is. */
    assert_in_range(n_taken, N_CACHES / 4, N_CACHES);
    while (window_arena_allocate(N_BYTES))
        n_taken++;
    assert_in_range(n_taken, N_CACHES / 4, 2 * N_CACHES + (64 << 20) / N_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_arena_shrinks_beside_who_takes_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
