/*
 * thread_burst: many short-lived threads, as in a server with a thread per request.
 *
 *   thread_burst THREADS AT_ONCE SEED
 *
 * THREADS threads, AT_ONCE at a time. Each allocates 400 blocks of 16..2000 bytes, frees every
 * second one, and leaves the others to the main thread, which frees them after the thread's end.
 */
#include "bench/common.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define N_BLOCKS 400u

static const char usage[] = "THREADS AT_ONCE SEED";

struct request {
    pthread_t thread;
    uint64_t state;
    void *blocks[N_BLOCKS];
};

static void *serve(void *argument)
{
    struct request *r = argument;
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        size_t n_bytes = random_between(&r->state, 16, 2000);
        r->blocks[i] = bench_malloc(n_bytes);
        block_stamp(r->blocks[i], n_bytes, (uint8_t)i);
    }
    for (unsigned i = 0; i < N_BLOCKS; i += 2) {
        block_check(r->blocks[i]);
        free(r->blocks[i]);
        r->blocks[i] = NULL;
    }
    return NULL;
}

static void start(struct request *r)
{
    int error = pthread_create(&r->thread, NULL, serve, r);
    if (error) {
        errno = error;
        bench_die("pthread_create");
    }
}

static void finish(struct request *r)
{
    pthread_join(r->thread, NULL);
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        if (!r->blocks[i])
            continue;
        block_check(r->blocks[i]);
        free(r->blocks[i]);
        r->blocks[i] = NULL;
    }
}

int main(int argc, char **argv)
{
    uint64_t n_threads = bench_argument(argc, argv, 1, usage);
    uint64_t n_at_once = bench_argument(argc, argv, 2, usage);
    uint64_t seed = bench_argument(argc, argv, 3, usage);
    if (argc != 4 || n_at_once > BENCH_MAX_THREADS || n_threads < n_at_once)
        bench_usage(argv[0], usage);
    struct request *requests = bench_pages(n_at_once * sizeof(*requests));
    struct bench b;
    bench_start(&b, "thread_burst");
    for (uint64_t i = 0; i < n_threads; i++) {
        struct request *r = &requests[i % n_at_once];
        if (i >= n_at_once)
            finish(r);
        r->state = random_seed(seed, (unsigned)i);
        start(r);
    }
    for (uint64_t i = 0; i < n_at_once; i++)
        finish(&requests[i]);
    bench_stop(&b);
    return bench_report(&b, bench_rate(&b, (double)n_threads), "threads/s", NULL);
}
