/*
 * daemon_churn: programs that start, lease a SuperSlab, use it and exit, so many a second.
 *
 *   daemon_churn SOCKET DAEMON_PID PER_SECOND SECONDS
 *
 * Each is a process, started when its time has come whether or not the ones before are done (up to
 * MAX_AT_ONCE, and as many as the machine can start in the time); it connects, says Hello, leases,
 * maps, writes into every page of the first 64 KiB, and exits without a word. Latency is from
 * connect() to the lease in hand. The first and the last sixth of the time are told apart: a figure
 * that grows between them is a leak of one kind or another. What the daemon and the kernel hold is
 * compared from after a first second of the same, when all that is allocated once is there, to
 * after the end, when nothing is leased any more.
 */
#include "bench/common.h"
#include "bench/daemon_client.h"
#include "bench/samples.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_AT_ONCE 400
#define TOUCH_BYTES ((size_t)64 << 10)
#define PAGE_BYTES  4096u
#define NS          UINT64_C(1000000000)

static const char usage[] = "SOCKET DAEMON_PID PER_SECOND SECONDS";

static struct daemon_client client;
static const char *path;
static double *latency_us; /* shared with the programs; 0: it got nothing */
static unsigned n_running;

/* What may leak. */
struct held {
    double anon_kib;
    double fds;
    double shmem_inodes; /* the host's: memfds are such */
    double unix_sockets; /* the host's */
    double slab_kib;     /* the host's, unreclaimable */
};

/* The number after `key` in a file, or -1. */
static double number_in(const char *file_name, const char *key, unsigned skip)
{
    char line[512];
    double value = -1;
    FILE *file = fopen(file_name, "re");
    while (file && value < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        char *at = line + strlen(key);
        for (unsigned i = 0; i < skip; i++) {
            at += strspn(at, " \t");
            at += strcspn(at, " \t");
        }
        value = strtod(at, NULL);
    }
    if (file)
        fclose(file);
    return value;
}

static struct held look(uint64_t pid)
{
    char name[64];
    struct held held = {0};
    snprintf(name, sizeof(name), "/proc/%llu/status", (unsigned long long)pid);
    held.anon_kib = number_in(name, "RssAnon:", 0);
    snprintf(name, sizeof(name), "/proc/%llu/fd", (unsigned long long)pid);
    DIR *folder = opendir(name);
    if (!folder)
        bench_die(name);
    while (readdir(folder))
        held.fds++;
    closedir(folder);
    held.shmem_inodes = number_in("/proc/slabinfo", "shmem_inode_cache ", 0);
    held.unix_sockets = number_in("/proc/net/protocols", "UNIX ", 1);
    held.slab_kib = number_in("/proc/meminfo", "SUnreclaim:", 0);
    return held;
}

/* Processor time of all of the daemon's threads, in seconds. */
static double daemon_cpu_s(uint64_t pid)
{
    char name[64], text[1024];
    unsigned long long user = 0, system = 0;
    snprintf(name, sizeof(name), "/proc/%llu/stat", (unsigned long long)pid);
    FILE *file = fopen(name, "re");
    if (!file)
        bench_die(name);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    /* Fields 14 and 15; the program's name, in brackets, may hold anything. */
    char *at = strrchr(text, ')');
    if (!at ||
        sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        bench_die("stat");
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static _Noreturn void be_program(size_t index)
{
    struct daemon_extent extents[CONN_MAX_FDS];
    uint64_t began = bench_now_ns();
    daemon_connect(&client, path);
    daemon_hello(&client, true);
    size_t n = daemon_lease(&client, 1, 1, extents);
    uint64_t ended = bench_now_ns();
    if (n == 0)
        _exit(1);
    daemon_map(&client, &extents[0]);
    for (size_t at = 0; at < TOUCH_BYTES; at += PAGE_BYTES) {
        if (((volatile char *)extents[0].memory)[at] != 0)
            _exit(2);
        ((volatile char *)extents[0].memory)[at] = 1;
    }
    latency_us[index] = (double)(ended - began) * 1e-3;
    _exit(0);
}

/* Takes the exit codes of those that are done; with `all`, of everybody. */
static unsigned reap(bool all)
{
    unsigned n_failed = 0;
    int status;
    while (n_running > 0) {
        pid_t pid = waitpid(-1, &status, all || n_running >= MAX_AT_ONCE ? 0 : WNOHANG);
        if (pid <= 0)
            break;
        n_running--;
        n_failed += status != 0;
    }
    return n_failed;
}

/* How many were started, at most `per_second` a second; in the first sixth of the time; and before
 * the last. */
struct started {
    size_t n;
    size_t n_first;
    size_t n_before_last;
    unsigned n_failed;
};

static struct started start_programs(size_t from, uint64_t per_second, uint64_t seconds)
{
    struct started started = {0};
    uint64_t began = bench_now_ns(), time_ns = seconds * NS, now;
    while ((now = bench_now_ns()) - began < time_ns && started.n < per_second * seconds) {
        uint64_t due = began + started.n * NS / per_second;
        if (now < due)
            nanosleep(&(struct timespec){.tv_nsec = (long)(due - now)}, NULL);
        started.n_failed += reap(false);
        pid_t child = fork();
        if (child == 0)
            be_program(from + started.n);
        if (child < 0) {
            started.n_failed++;
            continue;
        }
        n_running++;
        started.n++;
        if (now - began < time_ns / 6)
            started.n_first = started.n;
        if (now - began < time_ns / 6 * 5)
            started.n_before_last = started.n;
    }
    started.n_failed += reap(true);
    return started;
}

static bool is_empty(const Hakmem__StatsReply *stats, const void *context)
{
    (void)context;
    return stats->clients == 0 && stats->leased_bytes == 0 && stats->scrubbing_bytes == 0 &&
           stats->orphan_bytes == 0;
}

/* Waits until everything is back, and the stock at its minimum. */
static bool settle(Hakmem__StatsReply *stats)
{
    static struct daemon_client control;
    daemon_connect(&control, path);
    bool is_clean = daemon_wait(&control, is_empty, NULL, 20);
    daemon_trim(&control);
    nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    *stats = daemon_stats(&control);
    daemon_disconnect(&control);
    return is_clean;
}

static struct samples samples_of(size_t first, size_t n)
{
    struct samples s = samples_for(n);
    for (size_t i = 0; i < n; i++)
        if (latency_us[first + i] > 0)
            s.us[s.n++] = latency_us[first + i];
    return s;
}

int main(int argc, char **argv)
{
    uint64_t pid = bench_argument(argc, argv, 2, usage);
    uint64_t per_second = bench_argument(argc, argv, 3, usage);
    uint64_t seconds = bench_argument(argc, argv, 4, usage);
    if (argc != 5 || per_second > 100000 || seconds > 3600)
        bench_usage(argv[0], usage);
    size_t n_warm = per_second, n_most = per_second * seconds;
    Hakmem__StatsReply stats;
    path = argv[1];
    latency_us = mmap(NULL, (n_warm + n_most) * sizeof(*latency_us), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (latency_us == MAP_FAILED)
        bench_die("mmap");

    start_programs(0, per_second, 1);
    settle(&stats);
    uint64_t n_late = stats.loop_late_own_total;
    struct held before = look(pid);
    uint64_t began = bench_now_ns();
    double cpu_s = daemon_cpu_s(pid);
    struct started started = start_programs(n_warm, per_second, seconds);
    double elapsed_s = (double)(bench_now_ns() - began) * 1e-9;
    bool is_clean = settle(&stats);
    cpu_s = daemon_cpu_s(pid) - cpu_s;
    struct held after = look(pid);
    struct samples first = samples_of(n_warm, started.n_first),
                   last = samples_of(n_warm + started.n_before_last,
                                     started.n - started.n_before_last);
    size_t n = started.n;
    printf("{\"programs\": %zu, \"failed\": %u, \"per_second\": %.0f, \"all_gone\": %s, ", n,
           started.n_failed, (double)n / elapsed_s, is_clean ? "true" : "false");
    printf("\"first_p50_us\": %.1f, \"first_p99_us\": %.1f, \"last_p50_us\": %.1f, "
           "\"last_p99_us\": %.1f, ",
           samples_percentile(&first, 0.5), samples_percentile(&first, 0.99),
           samples_percentile(&last, 0.5), samples_percentile(&last, 0.99));
    printf("\"daemon_us_per_program\": %.0f, ", cpu_s * 1e6 / (double)n);
    printf("\"anon_kib\": %.0f, \"fds\": %.0f, \"shmem_inodes\": %.0f, \"unix_sockets\": %.0f, "
           "\"slab_kib\": %.0f, ",
           after.anon_kib - before.anon_kib, after.fds - before.fds,
           after.shmem_inodes - before.shmem_inodes, after.unix_sockets - before.unix_sockets,
           after.slab_kib - before.slab_kib);
    printf("\"loop_late_own\": %llu, \"loop_longest_own_us\": %llu}\n",
           (unsigned long long)(stats.loop_late_own_total - n_late),
           (unsigned long long)stats.loop_longest_own_us);
    return 0;
}
