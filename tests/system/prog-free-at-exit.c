/*
 * Ends while other threads go on allocating and freeing.
 *
 *   prog-free-at-exit
 *
 * For an allocator that keeps what was freed for a while, and looks at it at the end. Exit 0.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_THREADS = 2, N_BYTES = 1 << 20, N_BEFORE = 200 };

static unsigned n_freed;

static void *take_and_free(void *unused)
{
    (void)unused;
    for (;;) {
        char *block = malloc(N_BYTES);
        if (!block)
            abort();
        memset(block, 7, 100);
        free(block);
        __atomic_add_fetch(&n_freed, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    for (int i = 0; i < N_THREADS; i++) {
        if (pthread_create(&thread, NULL, take_and_free, NULL))
            return 1;
    }
    while (__atomic_load_n(&n_freed, __ATOMIC_RELAXED) < N_BEFORE)
        usleep(1000);
    return 0;
}
