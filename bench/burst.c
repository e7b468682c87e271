/*
 * burst: a server that has been idle suddenly needs a lot of memory. What a host-wide stock of
 * prewarmed memory is for.
 *
 *   burst WARM_BYTES IDLE_MS BURST_BYTES SEED
 *
 * Holds WARM_BYTES, sleeps IDLE_MS, then answers requests of 1 MB each, in blocks of 512 bytes to
 * 64 KiB touched at both ends and in every page, until BURST_BYTES are live. Reported: the time of
 * the burst; and the slowest request.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <time.h>

#define PAGE          4096u
#define LOW_BYTES     512u
#define HIGH_LOG      7u /* 512 << 7: 64 KiB */
#define REQUEST_BYTES (1024u * 1024u)

static const char usage[] = "WARM_BYTES IDLE_MS BURST_BYTES SEED";

static uint64_t n_blocks;
static void **blocks;

static void request(uint64_t n_bytes, uint64_t *state)
{
    for (uint64_t n_done = 0; n_done < n_bytes;) {
        size_t low = (size_t)LOW_BYTES << random_below(state, HIGH_LOG);
        size_t n_block = random_between(state, low, 2 * low);
        unsigned char *block = bench_malloc(n_block);
        for (size_t at = PAGE; at < n_block; at += PAGE)
            block[at] = (unsigned char)at;
        block_stamp(block, n_block, (uint8_t)n_done);
        blocks[n_blocks++] = block;
        n_done += n_block;
    }
}

int main(int argc, char **argv)
{
    uint64_t warm_bytes = bench_argument(argc, argv, 1, usage);
    uint64_t idle_ms = bench_argument(argc, argv, 2, usage);
    uint64_t burst_bytes = bench_argument(argc, argv, 3, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 4, usage), 0);
    if (argc != 5)
        bench_usage(argv[0], usage);
    blocks =
        bench_pages((warm_bytes + burst_bytes + 2 * REQUEST_BYTES) / LOW_BYTES * sizeof(*blocks));
    request(warm_bytes, &state);
    struct timespec pause = {(time_t)(idle_ms / 1000), (long)(idle_ms % 1000) * 1000000};
    nanosleep(&pause, NULL);

    struct bench b;
    uint64_t slowest_ns = 0;
    bench_start(&b, "burst");
    for (uint64_t n_done = 0; n_done < burst_bytes; n_done += REQUEST_BYTES) {
        uint64_t began = bench_now_ns();
        request(REQUEST_BYTES, &state);
        uint64_t took = bench_now_ns() - began;
        slowest_ns = took > slowest_ns ? took : slowest_ns;
    }
    bench_stop(&b);
    bench_mark_full(&b);
    for (uint64_t i = 0; i < n_blocks; i++)
        block_check(blocks[i]);
    bench_add(&b, "slowest_request_us", (double)slowest_ns * 1e-3);
    return bench_report(&b, (double)b.elapsed_ns * 1e-3, "us", blocks[0]);
}
