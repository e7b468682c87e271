/*
 * Threads that are to be cancelled, and that allocate, free, trim and fork: none of these is a
 * cancellation point, so each thread comes to its end, and nobody else finds a lock held.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_THREADS 4
#define N_ROUNDS  2
#define N_BLOCKS  300

static int n_through;

static void *allocate(size_t n_bytes)
{
    return memset(malloc(n_bytes), 1, n_bytes);
}

static void fork_one(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        free(allocate(3 << 20)); /* with the parent's cancellation pending */
        _exit(0);
    }
    int state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    waitpid(pid, NULL, 0);
    pthread_setcancelstate(state, NULL);
}

static void *thread(void *unused)
{
    void *blocks[N_BLOCKS];
    (void)unused;
    pthread_cancel(pthread_self());
    for (size_t round = 0; round < N_ROUNDS; round++) {
        for (size_t i = 0; i < N_BLOCKS; i++)
            blocks[i] = allocate(i % 50 == 0 ? 5 << 20 : i % 2 ? 200000 : 30 * i);
        fork_one();
        for (size_t i = 0; i < N_BLOCKS; i++) {
            blocks[i] = realloc(blocks[i], 100 * i + 1);
            free(blocks[i]);
        }
        malloc_trim(0);
    }
    __atomic_add_fetch(&n_through, 1, __ATOMIC_RELAXED);
    pthread_testcancel();
    return NULL;
}

int main(void)
{
    pthread_t threads[N_THREADS];
    void *result;
    int n_cancelled = 0;
    for (size_t i = 0; i < N_THREADS; i++)
        pthread_create(&threads[i], NULL, thread, NULL);
    for (size_t i = 0; i < N_THREADS; i++) {
        pthread_join(threads[i], &result);
        n_cancelled += result == PTHREAD_CANCELED;
    }
    free(allocate(50 << 20));
    if (n_through == N_THREADS && n_cancelled == N_THREADS)
        return 0;
    fprintf(stderr, "%d of %d threads came through\n", n_through, N_THREADS);
    return 1;
}
