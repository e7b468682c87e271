/*
 * cold_start: what a fresh process pays for its first memory: from main to the last touch. The
 * driver also takes the whole process, from spawn to exit.
 *
 *   cold_start BYTES LOW HIGH SEED
 *
 * Allocates BYTES in blocks of LOW..HIGH bytes, touches the first and last bytes of each and one
 * byte in every 4 KiB, and exits without freeing, as short-lived programs do.
 */
#include "bench/common.h"

static const char usage[] = "BYTES LOW HIGH SEED";

#define PAGE 4096u

int main(int argc, char **argv)
{
    struct bench b;
    bench_start(&b, "cold_start");
    uint64_t n_bytes = bench_argument(argc, argv, 1, usage);
    size_t low = bench_argument(argc, argv, 2, usage);
    size_t high = bench_argument(argc, argv, 3, usage);
    uint64_t state = bench_argument(argc, argv, 4, usage);
    if (argc != 5 || low < 8 || high < low)
        bench_usage(argv[0], usage);
    void *last = NULL;
    uint64_t n_done = 0;
    while (n_done < n_bytes) {
        size_t n_block = random_between(&state, low, high);
        unsigned char *block = bench_malloc(n_block);
        for (size_t at = PAGE; at < n_block; at += PAGE)
            block[at] = (unsigned char)at;
        block_stamp(block, n_block, (uint8_t)n_done);
        if (last)
            block_check(last);
        last = block;
        n_done += n_block;
    }
    bench_stop(&b);
    return bench_report(&b, (double)b.elapsed_ns * 1e-3, "us", last);
}
