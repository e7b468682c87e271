/*
 * large_blocks: blocks of 64 KiB to 16 MiB come and go: images, matrices, network buffers.
 *
 *   large_blocks all|ends CALLS THREADS SEED
 *
 * Each thread replaces a random one of its eight blocks CALLS times. Sizes are even over the
 * logarithm. all: one byte in every page is written; ends: the first and the last bytes.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <string.h>

#define N_SLOTS  8u
#define PAGE     4096u
#define LOW_LOG  16u
#define HIGH_LOG 24u

static const char usage[] = "all|ends CALLS THREADS SEED";

struct shared {
    bool all_pages;
    uint64_t n_calls;
    uint64_t seed;
    void *sample;
};

static size_t random_size(uint64_t *state)
{
    size_t low = (size_t)1 << (LOW_LOG + random_below(state, HIGH_LOG - LOW_LOG));
    return random_between(state, low, 2 * low);
}

static void work(void *context, unsigned index)
{
    struct shared *s = context;
    uint64_t state = random_seed(s->seed, index);
    unsigned char *slots[N_SLOTS] = {NULL};
    for (uint64_t call = 0; call < s->n_calls; call++) {
        uint64_t at = random_below(&state, N_SLOTS);
        if (slots[at]) {
            block_check(slots[at]);
            free(slots[at]);
        }
        size_t n_bytes = random_size(&state);
        unsigned char *block = bench_malloc(n_bytes);
        if (s->all_pages)
            for (size_t byte = PAGE; byte < n_bytes; byte += PAGE)
                block[byte] = (unsigned char)call;
        block_stamp(block, n_bytes, (uint8_t)call);
        slots[at] = block;
    }
    for (unsigned i = 0; i < N_SLOTS; i++) {
        if (index == 0 && !s->sample)
            s->sample = slots[i];
        else
            free(slots[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        bench_usage(argv[0], usage);
    struct shared s = {.all_pages = !strcmp(argv[1], "all"),
                       .n_calls = bench_argument(argc, argv, 2, usage),
                       .seed = bench_argument(argc, argv, 4, usage)};
    unsigned n_threads = (unsigned)bench_argument(argc, argv, 3, usage);
    if (n_threads > BENCH_MAX_THREADS || (!s.all_pages && strcmp(argv[1], "ends") != 0))
        bench_usage(argv[0], usage);
    struct bench b;
    bench_run_threads(&b, "large_blocks", n_threads, work, &s);
    return bench_report(&b, bench_rate(&b, (double)s.n_calls * n_threads), "blocks/s", s.sample);
}
