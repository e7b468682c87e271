/*
 * What the benchmark programs share: the clock, random numbers, stamped blocks, threads that start
 * together, and the one JSON line that closes a run.
 *
 * A program does its work between bench_start() and bench_stop(). What stands outside of them
 * (arguments, book-keeping arrays, the report) is in no figure. Book-keeping that grows with the
 * workload comes from bench_pages(), not from the allocator under test. bench_report() names the
 * library that served malloc, so that nobody can measure the wrong one.
 */
#ifndef HAKMEM_BENCH_COMMON_H
#define HAKMEM_BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#define BENCH_MAX_EXTRAS  12
#define BENCH_MAX_THREADS 64

/* Memory of this process at one moment, in KiB. */
struct bench_memory {
    uint64_t rss_kib;
    uint64_t pss_kib;      /* pages shared with other processes count in parts */
    uint64_t shmem_kib;    /* of rss: memfd pages, which is what the daemon leases */
    uint64_t high_rss_kib; /* VmHWM: the peak so far */
    uint64_t memfd_kib;    /* pages of the memfds it holds, touched by it or not */
};

/* What it holds of the host's memory: memfd pages as well that it has not mapped now, because they
 * were never touched or a 2 MiB page lost a part. */
static inline uint64_t bench_held_kib(const struct bench_memory *memory)
{
    bool is_more = memory->memfd_kib > memory->shmem_kib;
    return memory->rss_kib + (is_more ? memory->memfd_kib - memory->shmem_kib : 0);
}

struct bench_extra {
    const char *key;
    double value;
};

/* One measured run. Zero-initialised by bench_start(). */
struct bench {
    const char *name;
    uint64_t started_ns;
    uint64_t elapsed_ns;
    struct rusage before;
    struct rusage after;
    struct bench_memory full; /* when the live set was largest; bench_mark_full() */
    struct bench_extra extras[BENCH_MAX_EXTRAS];
    size_t n_extras;
};

uint64_t bench_now_ns(void);

void bench_start(struct bench *b, const char *name);
void bench_stop(struct bench *b);
/* Notes the memory in use now. Takes its time: call it outside the timed part, or where some 100 us
 * do not matter. */
void bench_mark_full(struct bench *b);
void bench_read_memory(struct bench_memory *memory);
/* A further figure for the report. `key` must outlive the run. */
void bench_add(struct bench *b, const char *key, double value);

/*
 * Prints the closing line and returns the exit code for main. `unit` is "ops/s" (more is better) or
 * "us" (less is better), or another; the driver's table of workloads says which way is better.
 * `sample` is a live block of the workload, or NULL.
 */
int bench_report(struct bench *b, double value, const char *unit, const void *sample);

/* Operations per second over the timed part. */
double bench_rate(const struct bench *b, double n_operations);

/*
 * Runs work(context, 0..n_threads-1), each in a thread of its own, all let go at once, from
 * bench_start() to the last one's end. With one thread: in the caller, as single-threaded programs
 * do.
 */
void bench_run_threads(struct bench *b, const char *name, unsigned n_threads,
                       void (*work)(void *context, unsigned index), void *context);

/* Zeroed memory that the allocator under test knows nothing about, already touched. Never fails:
 * exits. */
void *bench_pages(size_t n_bytes);

/* argv[index] as a positive number (K, M, G allowed); exits with `usage` if it is none. */
uint64_t bench_argument(int argc, char **argv, int index, const char *usage);
/* Exits 2 after printing the usage line. */
void bench_usage(const char *program, const char *usage) __attribute__((noreturn));
/* Exits 1 with errno's text. */
void bench_die(const char *what) __attribute__((noreturn));
/* A block does not hold what was written into it. */
void bench_corrupt(const void *block, const char *what) __attribute__((noreturn));

/* Allocation that must work. */
void *bench_malloc(size_t n_bytes);

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
 */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0..n-1 from the high bits, without a division. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random_next(state) * n) >> 64);
}

/* low..high, both included. */
static inline size_t random_between(uint64_t *state, size_t low, size_t high)
{
    return low + (size_t)random_below(state, high - low + 1);
}

/* A state for thread `index` that shares nothing with its neighbours'. */
static inline uint64_t random_seed(uint64_t seed, unsigned index)
{
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + index + 1;
    for (int i = 0; i < 4; i++)
        random_next(&state);
    return state;
}

/* Size and tag in the first eight bytes, the tag again in the last: two cache lines touched.
 * n_bytes is at least 8. */
static inline void block_stamp(void *block, size_t n_bytes, uint8_t tag)
{
    *(uint64_t *)block = (uint64_t)n_bytes << 8 | tag;
    ((uint8_t *)block)[n_bytes - 1] = tag;
}

/* The size that was stamped; stops the program if the block was written by somebody else. */
static inline size_t block_check(const void *block)
{
    uint64_t head = *(const uint64_t *)block;
    size_t n_bytes = (head >> 8) & UINT64_C(0xffffffff);
    if (__builtin_expect(n_bytes < 8 || ((const uint8_t *)block)[n_bytes - 1] != (uint8_t)head, 0))
        bench_corrupt(block, "stamp");
    return n_bytes;
}

#endif
