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
#include "tests/system/blocks.h"

#include <pthread.h>
#include <time.h>

enum {
    MAX_THREADS = 8,
    N_BLOCKS = 1500,      /* per thread */
    N_EXCHANGES = 256,    /* places where threads swap blocks */
    N_LIFE_STEPS = 20000, /* operations until a thread ends and another takes over */
    PHASE_MS = 120,
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
static double started, seconds;

static uint64_t n_walks; /* relaxed: a count */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
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
    if (choice < 2)
        block_exchange(b, random);
    else
        block_step(b, random, choice, shrinking);
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
    blocks_init();

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
