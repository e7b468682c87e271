/*
 * realloc_patterns: the three ways programs use realloc.
 *
 *   realloc_patterns grow|append|random ROUNDS SEED
 *
 * grow: a buffer doubles from 16 bytes to 64 MiB, each page written once (vectors, read-whole-file
 * loops). append: 64 buffers grow in turn by 40 bytes each to 32 KiB (string builders, protocol
 * buffers of many connections). random: a random one of 1000 blocks becomes 16..16384 bytes.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <string.h>

#define PAGE         4096u
#define GROW_BYTES   ((size_t)64 << 20)
#define N_BUFFERS    64u
#define APPEND_BYTES 40u
#define BUFFER_BYTES ((size_t)32 << 10)
#define N_RANDOM     1000u
#define RANDOM_BYTES 16384u
#define RANDOM_ROUND 10000u

static const char usage[] = "grow|append|random ROUNDS SEED";

static void *resize(void *block, size_t n_bytes)
{
    void *resized = realloc(block, n_bytes);
    if (!resized)
        bench_die("realloc");
    return resized;
}

/* Number of calls made. */
static double grow(uint64_t n_rounds)
{
    double n_calls = 0;
    for (uint64_t round = 0; round < n_rounds; round++) {
        unsigned char *buffer = NULL;
        size_t n_old = 0;
        for (size_t n = 16; n <= GROW_BYTES; n *= 2, n_calls++) {
            buffer = resize(buffer, n);
            if (n_old && buffer[n_old - 1] != (unsigned char)(n_old >> 4))
                bench_corrupt(buffer, "grow");
            for (size_t at = n_old; at < n; at += PAGE)
                buffer[at] = (unsigned char)at;
            buffer[n - 1] = (unsigned char)(n >> 4);
            n_old = n;
        }
        free(buffer);
    }
    return n_calls;
}

static double append(uint64_t n_rounds)
{
    unsigned char *buffers[N_BUFFERS] = {NULL};
    double n_calls = 0;
    for (uint64_t round = 0; round < n_rounds; round++) {
        for (size_t n = APPEND_BYTES; n <= BUFFER_BYTES; n += APPEND_BYTES) {
            for (unsigned i = 0; i < N_BUFFERS; i++) {
                buffers[i] = resize(buffers[i], n);
                memset(buffers[i] + n - APPEND_BYTES, (int)i, APPEND_BYTES);
                if (buffers[i][0] != i)
                    bench_corrupt(buffers[i], "append");
            }
            n_calls += N_BUFFERS;
        }
        for (unsigned i = 0; i < N_BUFFERS; i++) {
            free(buffers[i]);
            buffers[i] = NULL;
        }
    }
    return n_calls;
}

static double change(uint64_t n_rounds, uint64_t seed)
{
    void *blocks[N_RANDOM];
    uint64_t state = random_seed(seed, 0);
    for (unsigned i = 0; i < N_RANDOM; i++) {
        blocks[i] = bench_malloc(16);
        block_stamp(blocks[i], 16, (uint8_t)i);
    }
    uint64_t n_calls = n_rounds * RANDOM_ROUND;
    for (uint64_t call = 0; call < n_calls; call++) {
        uint64_t at = random_below(&state, N_RANDOM);
        size_t n_old = block_check(blocks[at]);
        uint64_t head = *(uint64_t *)blocks[at];
        size_t n_bytes = random_between(&state, 16, RANDOM_BYTES);
        blocks[at] = resize(blocks[at], n_bytes);
        if (*(uint64_t *)blocks[at] != head ||
            (n_bytes >= n_old && ((uint8_t *)blocks[at])[n_old - 1] != (uint8_t)head))
            bench_corrupt(blocks[at], "random");
        block_stamp(blocks[at], n_bytes, (uint8_t)at);
    }
    for (unsigned i = 0; i < N_RANDOM; i++)
        free(blocks[i]);
    return (double)n_calls;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_usage(argv[0], usage);
    uint64_t n_rounds = bench_argument(argc, argv, 2, usage);
    uint64_t seed = bench_argument(argc, argv, 3, usage);
    struct bench b;
    double n_calls = 0;
    bench_start(&b, "realloc_patterns");
    if (!strcmp(argv[1], "grow"))
        n_calls = grow(n_rounds);
    else if (!strcmp(argv[1], "append"))
        n_calls = append(n_rounds);
    else if (!strcmp(argv[1], "random"))
        n_calls = change(n_rounds, seed);
    else
        bench_usage(argv[0], usage);
    bench_stop(&b);
    return bench_report(&b, bench_rate(&b, n_calls), "calls/s", NULL);
}
