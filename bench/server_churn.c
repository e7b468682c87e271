/*
 * server_churn: a server's threads come and go, and what one left behind the next one frees. After
 * the larson benchmark (Larson and Krishnan, "Memory allocation for long-running server
 * applications", 1998).
 *
 *   server_churn CHAINS GENERATIONS REPLACEMENTS BLOCKS SEED
 *
 * Each of CHAINS chains owns BLOCKS blocks of 16..1000 bytes. A thread replaces random ones
 * REPLACEMENTS times, then starts its successor, which inherits the blocks, and exits.
 */
#include "bench/common.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

static const char usage[] = "CHAINS GENERATIONS REPLACEMENTS BLOCKS SEED";

struct chain {
    uint64_t n_generations; /* still to come */
    uint64_t n_replacements;
    uint64_t n_blocks;
    uint64_t state;
    void **blocks;
    sem_t *done;
};

static void replace(struct chain *c, uint64_t at)
{
    if (c->blocks[at]) {
        block_check(c->blocks[at]);
        free(c->blocks[at]);
    }
    size_t n_bytes = random_between(&c->state, 16, 1000);
    c->blocks[at] = bench_malloc(n_bytes);
    block_stamp(c->blocks[at], n_bytes, (uint8_t)at);
}

static void *generation(void *argument);

static void start_generation(struct chain *c)
{
    pthread_attr_t detached;
    pthread_t thread;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &detached, generation, c);
    pthread_attr_destroy(&detached);
    if (error) {
        errno = error;
        bench_die("pthread_create");
    }
}

static void *generation(void *argument)
{
    struct chain *c = argument;
    for (uint64_t i = 0; i < c->n_replacements; i++)
        replace(c, random_below(&c->state, c->n_blocks));
    if (--c->n_generations)
        start_generation(c);
    else
        sem_post(c->done);
    return NULL;
}

int main(int argc, char **argv)
{
    uint64_t n_chains = bench_argument(argc, argv, 1, usage);
    uint64_t n_generations = bench_argument(argc, argv, 2, usage);
    uint64_t n_replacements = bench_argument(argc, argv, 3, usage);
    uint64_t n_blocks = bench_argument(argc, argv, 4, usage);
    uint64_t seed = bench_argument(argc, argv, 5, usage);
    if (argc != 6 || n_chains > BENCH_MAX_THREADS)
        bench_usage(argv[0], usage);
    sem_t done;
    sem_init(&done, 0, 0);
    struct chain chains[BENCH_MAX_THREADS];
    for (unsigned i = 0; i < n_chains; i++) {
        chains[i] = (struct chain){.n_generations = n_generations,
                                   .n_replacements = n_replacements,
                                   .n_blocks = n_blocks,
                                   .state = random_seed(seed, i),
                                   .blocks = bench_pages(n_blocks * sizeof(void *)),
                                   .done = &done};
        /* Filled by the main thread: the first generation already frees blocks that are not its
         * own. */
        for (uint64_t at = 0; at < n_blocks; at++)
            replace(&chains[i], at);
    }
    struct bench b;
    bench_start(&b, "server_churn");
    for (unsigned i = 0; i < n_chains; i++)
        start_generation(&chains[i]);
    for (unsigned i = 0; i < n_chains; i++)
        while (sem_wait(&done))
            ;
    bench_stop(&b);
    bench_mark_full(&b);
    double n_operations = (double)n_chains * (double)n_generations * (double)n_replacements;
    return bench_report(&b, bench_rate(&b, n_operations), "replacements/s", chains[0].blocks[0]);
}
