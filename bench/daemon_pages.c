/*
 * daemon_pages: how fast the daemon makes, cleans and takes back memory, beside what this machine's
 * memset does in a program.
 *
 *   daemon_pages SOCKET BYTES IDLE_MS
 *
 * prewarm: a stock of BYTES more than there is. scrub: BYTES leased, written, given back. punch:
 * the same, marked IDLE, and the daemon told to trim. decay: the same, left alone: the time until
 * the host has it back; IDLE_MS is the daemon's reclaim.idle_ms, which is in that time. Needs the
 * right to control the daemon.
 */
#include "bench/common.h"
#include "bench/daemon_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MIB         (1024.0 * 1024.0)
#define RUN_SLABS   16u
#define MAX_EXTENTS 1024u

static const char usage[] = "SOCKET BYTES IDLE_MS";

static struct daemon_client client;
static struct daemon_extent extents[MAX_EXTENTS];

static double rate(uint64_t n_bytes, uint64_t began_ns)
{
    return (double)n_bytes / MIB / ((double)(bench_now_ns() - began_ns) * 1e-9);
}

/* memset of memory that has never been touched, in pages as large as they come, and of the same
 * again. */
static void measure_memset(uint64_t n_bytes, double *best_fresh, double *best_again)
{
    double fresh, again;
    char *room = mmap(NULL, n_bytes + SUPERSLAB_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        bench_die("mmap");
    char *at = (char *)(((uintptr_t)room + SUPERSLAB_BYTES - 1) & ~(SUPERSLAB_BYTES - 1));
    madvise(at, n_bytes, MADV_HUGEPAGE);
    uint64_t began = bench_now_ns();
    memset(at, 1, n_bytes);
    fresh = rate(n_bytes, began);
    began = bench_now_ns();
    memset(at, 2, n_bytes);
    again = rate(n_bytes, began);
    if (at[n_bytes / 2] != 2)
        bench_corrupt(at, "memset");
    munmap(room, n_bytes + SUPERSLAB_BYTES);
    *best_fresh = fresh > *best_fresh ? fresh : *best_fresh;
    *best_again = again > *best_again ? again : *best_again;
}

static bool stock_is(const Hakmem__StatsReply *stats, const void *context)
{
    return stats->stock_bytes >= *(const uint64_t *)context;
}

/* Nothing to clean, and the stock what it was a moment ago: for a tenth of a second. */
static bool is_quiet(const Hakmem__StatsReply *stats, const void *context)
{
    static uint64_t last_bytes, since_ns;
    (void)context;
    if (stats->scrubbing_bytes || stats->stock_bytes != last_bytes || !since_ns)
        since_ns = bench_now_ns();
    last_bytes = stats->stock_bytes;
    return bench_now_ns() - since_ns > UINT64_C(100000000);
}

static bool scrubbed_is(const Hakmem__StatsReply *stats, const void *context)
{
    return stats->scrubbing_bytes == 0 &&
           stats->scrubbed_bytes_total + stats->discarded_bytes_total >= *(const uint64_t *)context;
}

static bool reclaimed_is(const Hakmem__StatsReply *stats, const void *context)
{
    return stats->reclaimed_bytes_total >= *(const uint64_t *)context;
}

/* Leases about n_bytes in large extents, maps them, writes into every page. Bytes; *n: extents. */
static uint64_t take(uint64_t n_bytes, size_t *n)
{
    uint64_t n_taken = 0;
    *n = 0;
    while (n_taken < n_bytes && *n + CONN_MAX_FDS < MAX_EXTENTS) {
        size_t n_granted = daemon_lease(&client, RUN_SLABS, RUN_SLABS, &extents[*n]);
        if (n_granted == 0)
            break;
        for (size_t i = 0; i < n_granted; i++) {
            struct daemon_extent *extent = &extents[(*n)++];
            daemon_map(&client, extent);
            memset(extent->memory, 0x5a, extent->n_slabs * SUPERSLAB_BYTES);
            n_taken += extent->n_slabs * SUPERSLAB_BYTES;
        }
    }
    return n_taken;
}

static void set_all_idle(size_t n)
{
    for (size_t i = 0; i < n; i++)
        daemon_set_idle(&client, &extents[i]);
}

/* Every page of ours must read as zero once its SuperSlab is RECLAIMED. */
static void check_zero(size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t at = 0; at < extents[i].n_slabs * SUPERSLAB_BYTES; at += SUPERSLAB_BYTES / 2)
            if (((char *)extents[i].memory)[at])
                bench_corrupt(extents[i].memory, "reclaimed memory is not zero");
}

static double measure_prewarm(uint64_t n_bytes)
{
    daemon_trim(&client);
    daemon_wait(&client, is_quiet, NULL, 30);
    uint64_t had = daemon_stats(&client).stock_bytes;
    uint64_t target = had + n_bytes;
    uint64_t began = bench_now_ns();
    daemon_prewarm(&client, target);
    if (!daemon_wait(&client, stock_is, &target, 30))
        fprintf(stderr, "prewarm: stock did not reach its target\n");
    return rate(daemon_stats(&client).stock_bytes - had, began);
}

static double measure_scrub(uint64_t n_bytes)
{
    size_t n;
    uint64_t n_taken = take(n_bytes, &n);
    Hakmem__StatsReply before = daemon_stats(&client);
    uint64_t target = before.scrubbed_bytes_total + before.discarded_bytes_total + n_taken;
    uint64_t began = bench_now_ns();
    daemon_return(&client, extents, n);
    bool done = daemon_wait(&client, scrubbed_is, &target, 30);
    return done ? rate(n_taken, began) : 0;
}

/* Rate of punching, or with `wait` the seconds until the last byte was back. */
static double measure_reclaim(uint64_t n_bytes, bool wait)
{
    size_t n;
    uint64_t n_taken = take(n_bytes, &n);
    uint64_t target = daemon_stats(&client).reclaimed_bytes_total + n_taken;
    uint64_t began = bench_now_ns();
    set_all_idle(n);
    if (!wait)
        daemon_trim(&client);
    bool done = daemon_wait(&client, reclaimed_is, &target, 60);
    double result = wait ? (double)(bench_now_ns() - began) * 1e-9 : rate(n_taken, began);
    if (done)
        check_zero(n);
    daemon_return(&client, extents, n);
    return done ? result : 0;
}

int main(int argc, char **argv)
{
    uint64_t n_bytes = bench_argument(argc, argv, 2, usage);
    uint64_t idle_ms = bench_argument(argc, argv, 3, usage);
    if (argc != 4)
        bench_usage(argv[0], usage);
    double fresh = 0, again = 0;
    for (int i = 0; i < 3; i++)
        measure_memset(n_bytes, &fresh, &again);
    daemon_connect(&client, argv[1]);
    daemon_hello(&client, true);
    double prewarm = measure_prewarm(n_bytes);
    double scrub = measure_scrub(n_bytes);
    double punch = measure_reclaim(n_bytes, false);
    double decay = measure_reclaim(n_bytes, true);
    daemon_disconnect(&client);
    printf("{\"memset_fresh_mib_s\": %.0f, \"memset_again_mib_s\": %.0f, \"prewarm_mib_s\": %.0f, ",
           fresh, again, prewarm);
    printf("\"scrub_mib_s\": %.0f, \"punch_mib_s\": %.0f, \"decay_s\": %.3f, \"idle_ms\": %llu}\n",
           scrub, punch, decay, (unsigned long long)idle_ms);
    return 0;
}
