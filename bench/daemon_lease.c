/*
 * daemon_lease: what a lease costs, on the wire: request, reply with descriptors, and mapping and
 * first touch beside it.
 *
 *   daemon_lease SOCKET SLABS COUNT busy|quiet
 *
 * Leases extents of SLABS SuperSlabs, COUNT in all, and gives them back whenever a quarter of a
 * gigabyte is out. quiet: waits then until the daemon has nothing to do. busy: does not, and
 * another process keeps prewarmer, scrubber and puncher at work (daemon_load.h; needs the right to
 * control the daemon). loop_late_own is how often in this time the daemon's event loop was away for
 * more than 1 ms, by its own doing and account (not for want of a processor); loop_longest_own_us
 * the longest since the daemon began.
 */
#include "bench/common.h"
#include "bench/daemon_client.h"
#include "bench/daemon_load.h"
#include "bench/samples.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX_SLABS 128u

static const char usage[] = "SOCKET SLABS(1,2,4,8,16) COUNT busy|quiet";

static struct daemon_client client;

static bool is_quiet(const Hakmem__StatsReply *stats, const void *context)
{
    const uint64_t *wanted = context;
    return stats->scrubbing_bytes == 0 && stats->stock_bytes >= *wanted;
}

/* One lease, timed; then mapped and touched, timed. False: refused. */
static bool lease_one(uint32_t n_slabs, struct daemon_extent *extent, struct samples *lease,
                      struct samples *touch)
{
    struct daemon_extent extents[CONN_MAX_FDS];
    uint64_t began = bench_now_ns();
    size_t n = daemon_lease(&client, n_slabs, n_slabs, extents);
    uint64_t arrived = bench_now_ns();
    if (n == 0)
        return false;
    *extent = extents[0];
    daemon_map(&client, extent);
    for (uint32_t slab = 0; slab < extent->n_slabs; slab++)
        ((volatile char *)extent->memory)[slab * SUPERSLAB_BYTES] = 1;
    uint64_t touched = bench_now_ns();
    samples_add(lease, began, arrived);
    samples_add(touch, arrived, touched);
    daemon_return(&client, extents + 1, n - 1);
    return true;
}

int main(int argc, char **argv)
{
    uint32_t n_slabs = (uint32_t)bench_argument(argc, argv, 2, usage);
    uint64_t n_leases = bench_argument(argc, argv, 3, usage);
    if (argc != 5 || !extent_slabs_is_valid(n_slabs))
        bench_usage(argv[0], usage);
    bool busy = !strcmp(argv[4], "busy");
    struct samples lease = samples_for(n_leases), touch = samples_for(n_leases);
    struct daemon_extent extents[OUT_MAX_SLABS];
    size_t n_out = 0, n_refused = 0;
    uint64_t n_slabs_total = 0, n_huge = 0;
    daemon_connect(&client, argv[1]);
    daemon_hello(&client, true);
    /* Some of what goes out does not come back to the stock at once: half of it is waited for. */
    Hakmem__StatsReply before = daemon_stats(&client);
    uint64_t wanted = before.stock_bytes / 2;
    pid_t load = busy ? daemon_load_start(argv[1]) : -1;
    while (lease.n + n_refused < n_leases) {
        if (!lease_one(n_slabs, &extents[n_out], &lease, &touch)) {
            n_refused++;
        } else {
            n_slabs_total += extents[n_out].n_slabs;
            n_huge += extents[n_out].huge_slabs;
            n_out++;
        }
        if (n_out * n_slabs >= OUT_MAX_SLABS || lease.n + n_refused == n_leases) {
            daemon_return(&client, extents, n_out);
            n_out = 0;
            if (!busy)
                daemon_wait(&client, is_quiet, &wanted, 5);
        }
    }
    Hakmem__StatsReply after = daemon_stats(&client);
    if (busy)
        daemon_load_stop(load);
    daemon_disconnect(&client);
    printf("{\"leases\": %zu, \"refused\": %zu, \"p50_us\": %.2f, \"p99_us\": %.2f, ", lease.n,
           n_refused, samples_percentile(&lease, 0.5), samples_percentile(&lease, 0.99));
    printf("\"worst_us\": %.2f, \"loop_late_own\": %llu, \"loop_longest_own_us\": %llu, ",
           samples_percentile(&lease, 1),
           (unsigned long long)(after.loop_late_own_total - before.loop_late_own_total),
           (unsigned long long)after.loop_longest_own_us);
    printf("\"per_second\": %.0f, \"map_touch_p50_us\": %.2f, \"huge_share\": %.3f}\n",
           (double)lease.n / (samples_sum(&lease) * 1e-6), samples_percentile(&touch, 0.5),
           n_slabs_total ? (double)n_huge / (double)n_slabs_total : 0);
    return 0;
}
