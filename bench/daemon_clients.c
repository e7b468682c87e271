/*
 * daemon_clients: what a connected client that does nothing costs the daemon, what so many of them
 * cost the others, and how many come and go in a second.
 *
 *   daemon_clients SOCKET DAEMON_PID IDLE CHURN
 *
 * IDLE clients connect and stay: the daemon's memory and descriptors before and after; and the
 * round trips of a lease and of a question for the figures of all, before and after, by one client
 * more. Then CHURN times one connects, leases a SuperSlab and leaves. Needs IDLE descriptors here,
 * and one to two times as many in the daemon (ulimit -n).
 */
#include "bench/common.h"
#include "bench/daemon_client.h"
#include "bench/samples.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usage[] = "SOCKET DAEMON_PID IDLE CHURN";

#define N_PROBES 400

static struct daemon_client client, prober;

static uint64_t daemon_kib(uint64_t pid, const char *key)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        bench_die(path);
    uint64_t kib = 0;
    while (fgets(line, sizeof(line), file))
        if (!strncmp(line, key, strlen(key)))
            kib = strtoull(line + strlen(key), NULL, 10);
    fclose(file);
    return kib;
}

static uint64_t daemon_fds(uint64_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%llu/fd", (unsigned long long)pid);
    DIR *folder = opendir(path);
    if (!folder)
        bench_die(path);
    uint64_t n = 0;
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static bool is_empty(const Hakmem__StatsReply *stats, const void *context)
{
    (void)context;
    return stats->clients == 0 && stats->scrubbing_bytes == 0;
}

/* Median and 99th percentile of a lease, and the median of a StatsQuery, in us. */
struct probe {
    double lease_p50;
    double lease_p99;
    double stats_p50;
};

static struct probe probe(void)
{
    struct samples lease = samples_for(N_PROBES), stats = samples_for(N_PROBES);
    struct daemon_extent extents[CONN_MAX_FDS];
    for (int i = 0; i < N_PROBES; i++) {
        uint64_t began = bench_now_ns();
        size_t n = daemon_lease(&prober, 1, 1, extents);
        samples_add(&lease, began, bench_now_ns());
        daemon_return(&prober, extents, n);
        began = bench_now_ns();
        daemon_stats(&prober);
        samples_add(&stats, began, bench_now_ns());
    }
    return (struct probe){samples_percentile(&lease, 0.5), samples_percentile(&lease, 0.99),
                          samples_percentile(&stats, 0.5)};
}

int main(int argc, char **argv)
{
    uint64_t pid = bench_argument(argc, argv, 2, usage);
    uint64_t n_idle = bench_argument(argc, argv, 3, usage);
    uint64_t n_churn = bench_argument(argc, argv, 4, usage);
    if (argc != 5 || n_idle > 100000)
        bench_usage(argv[0], usage);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int *sockets = bench_pages(n_idle * sizeof(*sockets));

    daemon_connect(&prober, argv[1]);
    daemon_hello(&prober, true);
    struct probe alone = probe();
    uint64_t n_late = daemon_stats(&prober).loop_late_own_total;
    uint64_t anon_before = daemon_kib(pid, "RssAnon:"), shmem_before = daemon_kib(pid, "RssShmem:");
    uint64_t fds_before = daemon_fds(pid);
    uint64_t began = bench_now_ns();
    for (uint64_t i = 0; i < n_idle; i++) {
        daemon_connect(&client, argv[1]);
        daemon_hello(&client, false);
        sockets[i] = client.socket;
    }
    double connect_s = (double)(bench_now_ns() - began) * 1e-9;
    uint64_t anon_after = daemon_kib(pid, "RssAnon:"), shmem_after = daemon_kib(pid, "RssShmem:");
    uint64_t fds_after = daemon_fds(pid);
    struct probe among = probe();
    Hakmem__StatsReply full = daemon_stats(&prober);
    if (full.clients != n_idle + 1)
        fprintf(stderr, "%llu clients are connected, not %llu\n", (unsigned long long)full.clients,
                (unsigned long long)n_idle + 1);
    daemon_disconnect(&prober);
    for (uint64_t i = 0; i < n_idle; i++)
        close(sockets[i]);

    struct daemon_extent extents[CONN_MAX_FDS];
    uint64_t n_served = 0;
    began = bench_now_ns();
    for (uint64_t i = 0; i < n_churn; i++) {
        daemon_connect(&client, argv[1]);
        daemon_hello(&client, false);
        size_t n = daemon_lease(&client, 1, 1, extents);
        n_served += n > 0;
        for (size_t e = 0; e < n; e++)
            close(extents[e].fd);
        daemon_disconnect(&client);
    }
    double churn_s = (double)(bench_now_ns() - began) * 1e-9;
    daemon_connect(&client, argv[1]);
    bool clean = daemon_wait(&client, is_empty, NULL, 10);
    daemon_disconnect(&client);
    printf("{\"idle_clients\": %llu, \"connects_per_second\": %.0f, ", (unsigned long long)n_idle,
           (double)n_idle / connect_s);
    printf(
        "\"anon_kib_per_client\": %.2f, \"shmem_kib_per_client\": %.2f, \"fds_per_client\": %.2f, ",
        ((double)anon_after - (double)anon_before) / (double)n_idle,
        ((double)shmem_after - (double)shmem_before) / (double)n_idle,
        ((double)fds_after - (double)fds_before) / (double)n_idle);
    printf("\"connected\": %llu, \"alone_p50_us\": %.1f, \"alone_p99_us\": %.1f, "
           "\"among_p50_us\": %.1f, \"among_p99_us\": %.1f, ",
           (unsigned long long)full.clients, alone.lease_p50, alone.lease_p99, among.lease_p50,
           among.lease_p99);
    printf("\"alone_stats_p50_us\": %.1f, \"among_stats_p50_us\": %.1f, \"loop_late_own\": %llu, ",
           alone.stats_p50, among.stats_p50,
           (unsigned long long)(full.loop_late_own_total - n_late));
    printf("\"churn_per_second\": %.0f, \"churn_served\": %llu, \"all_gone\": %s}\n",
           (double)n_churn / churn_s, (unsigned long long)n_served, clean ? "true" : "false");
    return 0;
}
