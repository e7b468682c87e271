/*
 * calloc_patterns: zeroed memory, where an allocator that knows what is zero already saves the
 * clearing.
 *
 *   calloc_patterns untouched|filled|small CALLS SEED
 *
 * untouched: 1..8 MB, of which the two ends are used. filled: the same, all of it written.
 * small: 16..512 bytes in a working set of 4096.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <string.h>

#define N_LARGE 4u
#define N_SMALL 4096u
#define PAGE    4096u

static const char usage[] = "untouched|filled|small CALLS SEED";

static unsigned char *new_zeroed(size_t n_bytes)
{
    unsigned char *block = calloc(1, n_bytes);
    if (!block)
        bench_die("calloc");
    return block;
}

static void large(uint64_t n_calls, uint64_t *state, bool filled)
{
    unsigned char *blocks[N_LARGE] = {NULL};
    for (uint64_t call = 0; call < n_calls; call++) {
        uint64_t at = random_below(state, N_LARGE);
        free(blocks[at]);
        size_t n_bytes = random_between(state, (size_t)1 << 20, (size_t)8 << 20);
        unsigned char *block = new_zeroed(n_bytes);
        if (block[0] | block[n_bytes - 1])
            bench_corrupt(block, "not zero");
        if (filled) {
            /* Written without a look first: the page's first read would hide what the first write
             * costs. */
            memset(block, 0xa5, n_bytes);
        } else {
            block[0] = block[n_bytes - 1] = 1;
        }
        blocks[at] = block;
    }
    for (unsigned i = 0; i < N_LARGE; i++)
        free(blocks[i]);
}

static void small(uint64_t n_calls, uint64_t *state)
{
    unsigned char **blocks = bench_pages(N_SMALL * sizeof(*blocks));
    for (uint64_t call = 0; call < n_calls; call++) {
        uint64_t at = random_below(state, N_SMALL);
        free(blocks[at]);
        size_t n_bytes = random_between(state, 16, 512);
        unsigned char *block = new_zeroed(n_bytes);
        if (block[0] | block[n_bytes / 2] | block[n_bytes - 1])
            bench_corrupt(block, "not zero");
        memset(block, 0xa5, n_bytes);
        blocks[at] = block;
    }
    for (unsigned i = 0; i < N_SMALL; i++)
        free(blocks[i]);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        bench_usage(argv[0], usage);
    uint64_t n_calls = bench_argument(argc, argv, 2, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 3, usage), 0);
    struct bench b;
    bench_start(&b, "calloc_patterns");
    if (!strcmp(argv[1], "untouched"))
        large(n_calls, &state, false);
    else if (!strcmp(argv[1], "filled"))
        large(n_calls, &state, true);
    else if (!strcmp(argv[1], "small"))
        small(n_calls, &state);
    else
        bench_usage(argv[0], usage);
    bench_stop(&b);
    return bench_report(&b, bench_rate(&b, (double)n_calls), "calls/s", NULL);
}
