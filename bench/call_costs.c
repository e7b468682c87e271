/*
 * call_costs: each function of the malloc family, called over and over in a steady state: what one
 * call costs, with the free that goes with it, when the allocator has all it needs.
 *
 *   call_costs CALLS
 *
 * Each kind of call is a function of its own, calls_NAME, so that callgrind tells them apart
 * (driver/call_costs.py). A kind goes round and round N_SLOTS blocks, which are more than a thread
 * cache holds of a size: refills and flushes are part of what is counted.
 */
#include "bench/common.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#define N_SLOTS 2048u
#define APART   __attribute__((noinline, noclone))

static const char usage[] = "CALLS";

static void *slots[N_SLOTS];
static volatile size_t sink;

/* One kind of call: for each slot in turn, its block is replaced. */
#define KIND(name, statement)                                                                      \
    static APART void calls_##name(uint64_t n_calls)                                               \
    {                                                                                              \
        for (uint64_t call = 0; call < n_calls; call++) {                                          \
            void **slot = &slots[call % N_SLOTS];                                                  \
            statement;                                                                             \
        }                                                                                          \
    }

/* What the loop itself takes, to be taken off. */
KIND(none, sink = (size_t)*slot)
KIND(malloc, free(*slot); *slot = malloc(100))
KIND(malloc_8k, free(*slot); *slot = malloc(8000))
KIND(malloc_20k, free(*slot); *slot = malloc(20000))
KIND(calloc, free(*slot); *slot = calloc(1, 100))
KIND(aligned_alloc, free(*slot); *slot = aligned_alloc(64, 128))
KIND(posix_memalign, free(*slot); if (posix_memalign(slot, 64, 100)) *slot = NULL)
KIND(realloc_in_place, *slot = realloc(*slot, 100 + call / N_SLOTS % 12))
KIND(realloc_moves, *slot = realloc(*slot, call / N_SLOTS % 2 ? 100 : 1000))
KIND(usable_size, sink = malloc_usable_size(*slot))

static void free_all(void)
{
    for (unsigned i = 0; i < N_SLOTS; i++) {
        free(slots[i]);
        slots[i] = NULL;
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        bench_usage(argv[0], usage);
    uint64_t n_calls = bench_argument(argc, argv, 1, usage);
    static void (*const kinds[])(uint64_t) = {
        calls_malloc,           calls_calloc,        calls_aligned_alloc, calls_posix_memalign,
        calls_realloc_in_place, calls_realloc_moves, calls_usable_size,   calls_none,
        calls_malloc_8k,        calls_malloc_20k,
    };
    struct bench b;
    bench_start(&b, "call_costs");
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        /* The one before leaves small blocks for realloc and the question of their size. */
        if (kinds[i] == calls_malloc_8k || kinds[i] == calls_malloc_20k)
            free_all();
        kinds[i](n_calls);
    }
    bench_stop(&b);
    void *sample = slots[0];
    slots[0] = NULL;
    free_all();
    return bench_report(&b, bench_rate(&b, (double)n_calls), "calls/s", sample);
}
