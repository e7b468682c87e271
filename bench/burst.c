/*
 * burst: a server that has been idle suddenly needs a lot of memory. What a host-wide stock of
 * prewarmed memory is for.
 *
 *   burst WARM_BYTES IDLE_MS BURST_BYTES SEED [why]
 *
 * Holds WARM_BYTES, sleeps IDLE_MS, then answers requests of 1 MB each, in blocks of 512 bytes to
 * 64 KiB touched at both ends and in every page, until BURST_BYTES are live. Reported: the time of
 * the burst; and the slowest request. With `why`, which takes two system calls more per request,
 * also what the kernel says of it: its processor time, and how often it waited or was preempted;
 * and the slowest of those that did neither.
 */
#include "bench/common.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define PAGE          4096u
#define LOW_BYTES     512u
#define HIGH_LOG      7u /* 512 << 7: 64 KiB */
#define REQUEST_BYTES (1024u * 1024u)

static const char usage[] = "WARM_BYTES IDLE_MS BURST_BYTES SEED [why]";

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

/* What the kernel says of this thread. */
struct account {
    uint64_t cpu_ns;
    uint64_t n_waits;
    uint64_t n_preempted;
};

static struct account account_now(void)
{
    struct timespec cpu;
    struct rusage spent;
    getrusage(RUSAGE_THREAD, &spent);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    return (struct account){(uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec,
                            (uint64_t)spent.ru_nvcsw, (uint64_t)spent.ru_nivcsw};
}

struct slowest {
    uint64_t ns;
    struct account account;        /* of that request */
    uint64_t undisturbed_ns;       /* of those that kept the processor */
    uint64_t n_waits, n_preempted; /* of all requests */
};

static void note(struct slowest *slowest, uint64_t ns, struct account before, struct account after)
{
    struct account spent = {after.cpu_ns - before.cpu_ns, after.n_waits - before.n_waits,
                            after.n_preempted - before.n_preempted};
    slowest->n_waits += spent.n_waits;
    slowest->n_preempted += spent.n_preempted;
    if (ns > slowest->ns) {
        slowest->ns = ns;
        slowest->account = spent;
    }
    if (!spent.n_waits && !spent.n_preempted && ns > slowest->undisturbed_ns)
        slowest->undisturbed_ns = ns;
}

static void report_why(struct bench *b, const struct slowest *slowest)
{
    bench_add(b, "slowest_cpu_us", (double)slowest->account.cpu_ns * 1e-3);
    bench_add(b, "slowest_waits", (double)slowest->account.n_waits);
    bench_add(b, "slowest_preempted", (double)slowest->account.n_preempted);
    bench_add(b, "slowest_undisturbed_us", (double)slowest->undisturbed_ns * 1e-3);
    bench_add(b, "waits", (double)slowest->n_waits);
    bench_add(b, "preempted", (double)slowest->n_preempted);
}

int main(int argc, char **argv)
{
    uint64_t warm_bytes = bench_argument(argc, argv, 1, usage);
    uint64_t idle_ms = bench_argument(argc, argv, 2, usage);
    uint64_t burst_bytes = bench_argument(argc, argv, 3, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 4, usage), 0);
    bool why = argc == 6 && strcmp(argv[5], "why") == 0;
    if (argc != 5 && !why)
        bench_usage(argv[0], usage);
    blocks =
        bench_pages((warm_bytes + burst_bytes + 2 * REQUEST_BYTES) / LOW_BYTES * sizeof(*blocks));
    request(warm_bytes, &state);
    struct timespec pause = {(time_t)(idle_ms / 1000), (long)(idle_ms % 1000) * 1000000};
    nanosleep(&pause, NULL);

    struct bench b;
    struct slowest slowest = {0};
    struct account before = {0}, after = {0};
    bench_start(&b, "burst");
    for (uint64_t n_done = 0; n_done < burst_bytes; n_done += REQUEST_BYTES) {
        before = why ? account_now() : before;
        uint64_t began = bench_now_ns();
        request(REQUEST_BYTES, &state);
        uint64_t took = bench_now_ns() - began;
        after = why ? account_now() : after;
        note(&slowest, took, before, after);
    }
    bench_stop(&b);
    bench_mark_full(&b);
    for (uint64_t i = 0; i < n_blocks; i++)
        block_check(blocks[i]);
    bench_add(&b, "slowest_request_us", (double)slowest.ns * 1e-3);
    if (why)
        report_why(&b, &slowest);
    return bench_report(&b, (double)b.elapsed_ns * 1e-3, "us", blocks[0]);
}
