/*
 * random_mixed_mt: random_mixed in several threads, each with a working set of its own.
 *
 *   random_mixed_mt THREADS ITERATIONS WORKING_SET SEED local|remote
 *
 * local: a thread frees what it allocated. remote: it never does. Each block goes to the next
 * thread in a ring, in batches through a single-producer queue, and is freed there. The queue's
 * cost is the same for every allocator.
 */
#include "bench/common.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "common/atomic.h"

#define QUEUE_SLOTS 8192u
#define BATCH       64u

static const char usage[] = "THREADS ITERATIONS WORKING_SET SEED local|remote";

/* Blocks on their way to one thread. head: written by the receiver; tail: by the sender. */
struct queue {
    _Alignas(64) uint64_t head;
    _Alignas(64) uint64_t tail;
    _Alignas(64) void *slots[QUEUE_SLOTS];
};

struct shared {
    unsigned n_threads;
    uint64_t n_iterations;
    uint64_t n_slots;
    uint64_t seed;
    bool remote;
    struct queue *queues; /* [i]: to thread i */
    uint32_t n_finished;
    void *sample;
};

static void queue_drain(struct queue *q)
{
    /* Pairs with the release in queue_send: the blocks' contents are visible. */
    uint64_t tail = atomic_load_acquire(&q->tail);
    uint64_t head = q->head;
    while (head != tail) {
        void *block = q->slots[head++ % QUEUE_SLOTS];
        block_check(block);
        free(block);
    }
    /* Pairs with the acquire in queue_send: the slots may be written again. */
    atomic_store_release(&q->head, head);
}

/* While the other's queue is full, empties our own, so that a ring of full queues cannot stand
 * still. */
static void queue_send(struct queue *to, struct queue *own, void **blocks, size_t n_blocks)
{
    while (to->tail + n_blocks - atomic_load_acquire(&to->head) > QUEUE_SLOTS) {
        queue_drain(own);
        sched_yield();
    }
    for (size_t i = 0; i < n_blocks; i++)
        to->slots[(to->tail + i) % QUEUE_SLOTS] = blocks[i];
    atomic_store_release(&to->tail, to->tail + n_blocks);
}

/* One step of random_mixed. A block to be freed, or NULL. */
static inline void *step(unsigned char **slots, uint64_t n_slots, uint64_t *state)
{
    uint64_t r = random_next(state);
    uint64_t slot = (uint64_t)(((unsigned __int128)(r >> 32) * n_slots) >> 32);
    void *block = slots[slot];
    if (block) {
        slots[slot] = NULL;
        return block;
    }
    size_t n_bytes = 16 + (r & 1023);
    slots[slot] = bench_malloc(n_bytes);
    block_stamp(slots[slot], n_bytes, (uint8_t)(r >> 56));
    return NULL;
}

static void work_local(struct shared *s, unsigned char **slots, uint64_t *state)
{
    for (uint64_t i = 0; i < s->n_iterations; i++) {
        void *block = step(slots, s->n_slots, state);
        if (block) {
            block_check(block);
            free(block);
        }
    }
}

static void work_remote(struct shared *s, unsigned index, unsigned char **slots, uint64_t *state)
{
    struct queue *own = &s->queues[index];
    struct queue *next = &s->queues[(index + 1) % s->n_threads];
    void *batch[BATCH];
    size_t n_batch = 0;
    for (uint64_t i = 0; i < s->n_iterations; i++) {
        void *block = step(slots, s->n_slots, state);
        if (!block)
            continue;
        batch[n_batch++] = block;
        if (n_batch == BATCH) {
            queue_send(next, own, batch, n_batch);
            queue_drain(own);
            n_batch = 0;
        }
    }
    queue_send(next, own, batch, n_batch);
    atomic_add_relaxed(&s->n_finished, 1); /* only a count: the queues order what they carry */
    while (atomic_load_relaxed(&s->n_finished) < s->n_threads) {
        queue_drain(own);
        sched_yield();
    }
    queue_drain(own);
}

static void work(void *context, unsigned index)
{
    struct shared *s = context;
    uint64_t state = random_seed(s->seed, index);
    unsigned char **slots = bench_pages(s->n_slots * sizeof(*slots));
    if (s->remote)
        work_remote(s, index, slots, &state);
    else
        work_local(s, slots, &state);
    for (uint64_t slot = 0; slot < s->n_slots; slot++) {
        if (index == 0 && !s->sample)
            s->sample = slots[slot];
        else
            free(slots[slot]);
    }
}

int main(int argc, char **argv)
{
    struct shared s = {.n_threads = (unsigned)bench_argument(argc, argv, 1, usage),
                       .n_iterations = bench_argument(argc, argv, 2, usage),
                       .n_slots = bench_argument(argc, argv, 3, usage),
                       .seed = bench_argument(argc, argv, 4, usage)};
    if (argc != 6 || s.n_threads > BENCH_MAX_THREADS)
        bench_usage(argv[0], usage);
    s.remote = !strcmp(argv[5], "remote") && s.n_threads > 1;
    s.queues = bench_pages(s.n_threads * sizeof(*s.queues));
    struct bench b;
    bench_run_threads(&b, "random_mixed_mt", s.n_threads, work, &s);
    double n_operations = (double)s.n_iterations * s.n_threads;
    return bench_report(&b, bench_rate(&b, n_operations), "ops/s", s.sample);
}
