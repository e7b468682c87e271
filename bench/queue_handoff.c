/*
 * queue_handoff: one thread allocates, another frees. The shape of a server that parses in one
 * thread and answers in another, and the worst case of caches that only ever fill on one side.
 *
 *   queue_handoff BLOCKS PAIRS SEED
 *
 * Each of PAIRS producers sends BLOCKS blocks of 16..1039 bytes, one by one, through a bounded
 * queue to its consumer.
 */
#include "bench/common.h"

#include <sched.h>
#include <stdlib.h>

#include "common/atomic.h"

#define QUEUE_SLOTS 1024u
#define PUBLISH     32u /* blocks between two looks at the other side */

static const char usage[] = "BLOCKS PAIRS SEED";

/* head: written by the consumer; tail: by the producer. */
struct queue {
    _Alignas(64) uint64_t head;
    _Alignas(64) uint64_t tail;
    _Alignas(64) void *slots[QUEUE_SLOTS];
};

struct shared {
    uint64_t n_blocks;
    uint64_t seed;
    struct queue *queues;
};

static void produce(struct shared *s, struct queue *q, unsigned index)
{
    uint64_t state = random_seed(s->seed, index);
    uint64_t head = 0;
    for (uint64_t tail = 0; tail < s->n_blocks; tail++) {
        while (tail - head >= QUEUE_SLOTS) {
            atomic_store_release(&q->tail, tail);
            /* Pairs with the release in consume: the slot may be written again. */
            head = atomic_load_acquire(&q->head);
            if (tail - head >= QUEUE_SLOTS)
                sched_yield();
        }
        size_t n_bytes = random_between(&state, 16, 1039);
        void *block = bench_malloc(n_bytes);
        block_stamp(block, n_bytes, (uint8_t)tail);
        q->slots[tail % QUEUE_SLOTS] = block;
        if (tail % PUBLISH == PUBLISH - 1)
            atomic_store_release(&q->tail, tail + 1);
    }
    atomic_store_release(&q->tail, s->n_blocks);
}

static void consume(struct shared *s, struct queue *q)
{
    uint64_t tail = 0;
    for (uint64_t head = 0; head < s->n_blocks; head++) {
        while (head == tail) {
            atomic_store_release(&q->head, head);
            /* Pairs with the release in produce: the block's stamp is visible. */
            tail = atomic_load_acquire(&q->tail);
            if (head == tail)
                sched_yield();
        }
        void *block = q->slots[head % QUEUE_SLOTS];
        block_check(block);
        free(block);
        if (head % PUBLISH == PUBLISH - 1)
            atomic_store_release(&q->head, head + 1);
    }
}

static void work(void *context, unsigned index)
{
    struct shared *s = context;
    struct queue *q = &s->queues[index / 2];
    if (index % 2)
        consume(s, q);
    else
        produce(s, q, index);
}

int main(int argc, char **argv)
{
    struct shared s = {.n_blocks = bench_argument(argc, argv, 1, usage)};
    uint64_t n_pairs = bench_argument(argc, argv, 2, usage);
    s.seed = bench_argument(argc, argv, 3, usage);
    if (argc != 4 || n_pairs > BENCH_MAX_THREADS / 2)
        bench_usage(argv[0], usage);
    s.queues = bench_pages(n_pairs * sizeof(*s.queues));
    struct bench b;
    bench_run_threads(&b, "queue_handoff", (unsigned)n_pairs * 2, work, &s);
    bench_mark_full(&b);
    return bench_report(&b, bench_rate(&b, (double)s.n_blocks * (double)n_pairs), "blocks/s", NULL);
}
