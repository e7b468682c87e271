/*
 * stress_sizes: blocks of 8..16000 bytes, small ones more often, in random order, and every other
 * batch is freed by another thread than the one that allocated it.
 *
 *   stress_sizes THREADS ROUNDS SEED
 *
 * A round replaces 100 random blocks of the thread's 1000; every second round the thread also hands
 * a batch of 100 new blocks to its neighbour and frees the batches that were handed to it.
 *
 * The mailboxes are not bounded: what waits in them while a thread does not run is live, and is all
 * but a few MiB of the largest live set. Compare memory by `peak_live_kib` alone.
 */
#include "bench/common.h"

#include <stdlib.h>

#include "common/atomic.h"

#define N_SLOTS     1000u
#define N_REPLACED  100u
#define BATCH       100u
#define CROSS_EVERY 2u
#define LOW_BYTES   8u
#define HIGH_BYTES  16000u

static const char usage[] = "THREADS ROUNDS SEED";

struct batch {
    struct batch *next;
    void *blocks[BATCH];
};

struct mailbox {
    _Alignas(64) struct batch *first;
};

/* A thread's, as of its last round. */
struct balance {
    _Alignas(64) int64_t bytes; /* allocated less freed; may be below 0 */
    int64_t peak_bytes;         /* the largest sum of all threads' that it saw */
};

struct shared {
    unsigned n_threads;
    uint64_t n_rounds;
    uint64_t seed;
    struct mailbox *mailboxes;
    struct balance *balances;
    void *sample;
};

/* Linear fall-off: a size is the likelier the smaller it is. */
static void *new_block(uint64_t *state, int64_t *balance)
{
    size_t a = random_between(state, LOW_BYTES, HIGH_BYTES);
    size_t b = random_between(state, LOW_BYTES, HIGH_BYTES);
    size_t n_bytes = a < b ? a : b;
    void *block = bench_malloc(n_bytes);
    block_stamp(block, n_bytes, (uint8_t)a);
    *balance += (int64_t)n_bytes;
    return block;
}

static void drop_block(void *block, int64_t *balance)
{
    *balance -= (int64_t)block_check(block);
    free(block);
}

static void mailbox_put(struct mailbox *box, struct batch *batch)
{
    batch->next = atomic_load_relaxed(&box->first);
    /* Pairs with the acquire in mailbox_empty: the batch and its blocks are visible. */
    while (!atomic_cas_acq_rel(&box->first, &batch->next, batch))
        ;
}

static void mailbox_empty(struct mailbox *box, int64_t *balance)
{
    struct batch *batch = atomic_swap_acquire(&box->first, NULL);
    while (batch) {
        struct batch *next = batch->next;
        for (unsigned i = 0; i < BATCH; i++)
            drop_block(batch->blocks[i], balance);
        free(batch);
        batch = next;
    }
}

static void note_live(struct shared *s, unsigned index, int64_t balance)
{
    int64_t live_bytes = 0;
    atomic_store_relaxed(&s->balances[index].bytes, balance); /* figures, all of them */
    for (unsigned i = 0; i < s->n_threads; i++)
        live_bytes += atomic_load_relaxed(&s->balances[i].bytes);
    if (live_bytes > s->balances[index].peak_bytes)
        s->balances[index].peak_bytes = live_bytes;
}

static void work(void *context, unsigned index)
{
    struct shared *s = context;
    uint64_t state = random_seed(s->seed, index);
    int64_t balance = 0;
    void *slots[N_SLOTS];
    for (unsigned i = 0; i < N_SLOTS; i++)
        slots[i] = new_block(&state, &balance);
    for (uint64_t round = 0; round < s->n_rounds; round++) {
        for (unsigned i = 0; i < N_REPLACED; i++) {
            uint64_t at = random_below(&state, N_SLOTS);
            drop_block(slots[at], &balance);
            slots[at] = new_block(&state, &balance);
        }
        note_live(s, index, balance);
        if (round % CROSS_EVERY)
            continue;
        struct batch *batch = bench_malloc(sizeof(*batch));
        for (unsigned i = 0; i < BATCH; i++)
            batch->blocks[i] = new_block(&state, &balance);
        mailbox_put(&s->mailboxes[(index + 1) % s->n_threads], batch);
        mailbox_empty(&s->mailboxes[index], &balance);
    }
    for (unsigned i = index == 0; i < N_SLOTS; i++)
        drop_block(slots[i], &balance);
    if (index == 0)
        s->sample = slots[0];
}

int main(int argc, char **argv)
{
    struct shared s = {.n_threads = (unsigned)bench_argument(argc, argv, 1, usage),
                       .n_rounds = bench_argument(argc, argv, 2, usage),
                       .seed = bench_argument(argc, argv, 3, usage)};
    if (argc != 4 || s.n_threads > BENCH_MAX_THREADS)
        bench_usage(argv[0], usage);
    s.mailboxes = bench_pages(s.n_threads * sizeof(*s.mailboxes));
    s.balances = bench_pages(s.n_threads * sizeof(*s.balances));
    struct bench b;
    bench_run_threads(&b, "stress_sizes", s.n_threads, work, &s);
    bench_mark_full(&b);
    int64_t peak_bytes = 0;
    for (unsigned i = 0; i < s.n_threads; i++) {
        if (s.balances[i].peak_bytes > peak_bytes)
            peak_bytes = s.balances[i].peak_bytes;
        mailbox_empty(&s.mailboxes[i], &s.balances[i].bytes);
    }
    bench_add(&b, "peak_live_kib", (double)peak_bytes / 1024);
    double per_round = N_REPLACED + (double)BATCH / CROSS_EVERY;
    double n_operations = (double)s.n_threads * (double)s.n_rounds * per_round;
    return bench_report(&b, bench_rate(&b, n_operations), "blocks/s", s.sample);
}
