/*
 * fragmentation: how much memory a program holds whose sizes change over its life, at its largest
 * and after it has freed most of it.
 *
 *   fragmentation LIVE_BYTES SETTLE_MS SEED
 *
 * Eight phases. In each, a random four fifths of the blocks are replaced by blocks of the phase's
 * sizes, while the sum of live bytes stays LIVE_BYTES. Then nine blocks in ten are freed, and for
 * SETTLE_MS the program does next to nothing, as an idle server does. Figures: speed, and bytes
 * held per live byte: resident at the most, and at the end resident or in a memfd.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <time.h>

#define N_PHASES   8u
#define LOW_BYTES  16u
#define KEEP_EVERY 10u

static const char usage[] = "LIVE_BYTES SETTLE_MS SEED";

/* Sizes of phase i: from low[i] to four times that. Up and down, so that no phase fits the holes of
 * the one before. */
static const size_t phase_low[N_PHASES] = {24, 400, 64, 3000, 150, 12000, 40, 900};

struct heap {
    void **blocks;
    uint64_t n_blocks;
    uint64_t capacity;
    uint64_t live_bytes;
    uint64_t n_operations;
};

static void heap_fill(struct heap *h, uint64_t target_bytes, size_t low, uint64_t *state)
{
    while (h->live_bytes < target_bytes && h->n_blocks < h->capacity) {
        size_t n_bytes = random_between(state, low, 4 * low);
        void *block = bench_malloc(n_bytes);
        block_stamp(block, n_bytes, (uint8_t)n_bytes);
        h->blocks[h->n_blocks++] = block;
        h->live_bytes += n_bytes;
        h->n_operations++;
    }
}

static void heap_free_at(struct heap *h, uint64_t at)
{
    h->live_bytes -= block_check(h->blocks[at]);
    free(h->blocks[at]);
    h->blocks[at] = h->blocks[--h->n_blocks];
    h->n_operations++;
}

static void run_phase(struct heap *h, uint64_t live_bytes, size_t low, uint64_t *state)
{
    uint64_t keep_bytes = h->live_bytes / 5;
    while (h->live_bytes > keep_bytes && h->n_blocks)
        heap_free_at(h, random_below(state, h->n_blocks));
    heap_fill(h, live_bytes, low, state);
}

static void idle(uint64_t settle_ms)
{
    uint64_t end = bench_now_ns() + settle_ms * UINT64_C(1000000);
    while (bench_now_ns() < end) {
        /* A block of each of a few sizes, so that an allocator that tidies up while it works gets
         * its chance. */
        for (size_t n_bytes = 32; n_bytes <= 8192; n_bytes *= 4) {
            void *block = bench_malloc(n_bytes);
            block_stamp(block, n_bytes, 1);
            free(block);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    }
}

int main(int argc, char **argv)
{
    uint64_t live_bytes = bench_argument(argc, argv, 1, usage);
    uint64_t settle_ms = bench_argument(argc, argv, 2, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 3, usage), 0);
    if (argc != 4)
        bench_usage(argv[0], usage);
    struct heap h = {.capacity = live_bytes / LOW_BYTES};
    size_t book_bytes = h.capacity * sizeof(void *);
    h.blocks = bench_pages(book_bytes);
    struct bench_memory empty, settled;
    bench_read_memory(&empty); /* the program and its book-keeping: not the allocator's */
    struct bench b;
    bench_start(&b, "fragmentation");
    heap_fill(&h, live_bytes, phase_low[0], &state);
    for (unsigned phase = 1; phase < N_PHASES; phase++)
        run_phase(&h, live_bytes, phase_low[phase], &state);
    bench_stop(&b);
    bench_mark_full(&b);
    bench_read_memory(&settled);
    uint64_t full_kib = settled.high_rss_kib - empty.rss_kib;
    bench_add(&b, "peak_over_live", (double)full_kib * 1024 / (double)h.live_bytes);
    uint64_t n_kept = h.n_blocks / KEEP_EVERY;
    double rate = bench_rate(&b, (double)h.n_operations);
    while (h.n_blocks > n_kept)
        heap_free_at(&h, random_below(&state, h.n_blocks));
    idle(settle_ms);
    bench_read_memory(&settled);
    double settled_bytes =
        ((double)bench_held_kib(&settled) - (double)bench_held_kib(&empty)) * 1024;
    bench_add(&b, "settled_over_live", settled_bytes / (double)h.live_bytes);
    bench_add(&b, "settled_rss_kib", (double)settled.rss_kib);
    return bench_report(&b, rate, "ops/s", h.blocks[0]);
}
