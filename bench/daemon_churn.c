/*
 * daemon_churn: programs that start, get a SuperSlab, use it and exit, so many a second.
 *
 *   daemon_churn SOCKET DAEMON_PID PER_SECOND SECONDS [fork]
 *
 * Each is a process, started when its time has come whether or not the ones before are done (up to
 * MAX_AT_ONCE, and as many as the machine can start in the time); it connects, says Hello and gets
 * its first memory with the answer, as the library does; maps ledger and extent, writes into every
 * page of the first 64 KiB, and exits without a word. Latency is from connect() to the lease in
 * hand. The first and the last sixth of the time are told apart: a figure that grows between them
 * is a leak of one kind or another. What the daemon and the kernel hold is compared from after a
 * first second of the same, when all that is allocated once is there, to after the end, when
 * nothing is leased any more.
 *
 * The processes have a pid and descriptors of their own, but, as after vfork(2), the starter's
 * address space: where to make and to unmake one takes longer than all else here, as on many
 * virtual machines (2 ms on the one of docs/benchmarks.md, where the two processors are then busy
 * with that alone at 1,000 a second), it would be all that is measured. To the daemon it makes no
 * difference: what they map is unmapped before their descriptors are closed, either way. With
 * `fork` they have one of their own.
 */
#include "bench/common.h"
#include "bench/daemon_client.h"
#include "bench/samples.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_AT_ONCE 128
#define STACK_BYTES ((size_t)256 << 10)
#define TOUCH_BYTES ((size_t)64 << 10)
#define PAGE_BYTES  4096u
#define NS          UINT64_C(1000000000)

static const char usage[] = "SOCKET DAEMON_PID PER_SECOND SECONDS [fork]";

static const char *path;
static bool has_own_memory;
static double *latency_us; /* shared with the programs; 0: it got nothing */

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

/* In the program. What it maps it unmaps: it may not be its own. */
static void use(struct daemon_client *client, struct daemon_extent *extent)
{
    daemon_map(client, extent);
    for (size_t at = 0; at < TOUCH_BYTES; at += PAGE_BYTES) {
        if (((volatile char *)extent->memory)[at] != 0)
            _exit(2);
        ((volatile char *)extent->memory)[at] = 1;
    }
    munmap(extent->memory, extent->n_slabs * SUPERSLAB_BYTES);
    munmap(client->ledger, ledger_bytes(client->n_slots));
}

static void be_program(struct daemon_client *client, size_t index)
{
    struct daemon_extent extents[CONN_MAX_FDS];
    uint64_t began = bench_now_ns();
    daemon_connect(client, path);
    size_t n = daemon_hello_lease(client, 1, true, extents);
    uint64_t ended = bench_now_ns();
    if (n == 0)
        _exit(1);
    use(client, &extents[0]);
    latency_us[index] = (double)(ended - began) * 1e-3;
    _exit(0);
}

/* The programs of one stretch of time, and who starts them: each starter one at a time. */
struct stretch {
    pthread_mutex_t lock;
    size_t from; /* in latency_us */
    uint64_t per_second;
    uint64_t time_ns;
    uint64_t began_ns;
    /* How many were started; in the first sixth of the time; and before the last. Under lock. */
    size_t n;
    size_t n_first;
    size_t n_before_last;
    unsigned n_failed;
};

/* The next one's number, once its time has come. False: the time is over. */
static bool next_program(struct stretch *stretch, size_t *index_out)
{
    pthread_mutex_lock(&stretch->lock);
    uint64_t passed = bench_now_ns() - stretch->began_ns;
    uint64_t due = stretch->n * NS / stretch->per_second;
    bool is_over = passed >= stretch->time_ns || due >= stretch->time_ns;
    if (!is_over) {
        *index_out = stretch->from + stretch->n++;
        if (due > passed)
            passed = due;
        if (passed < stretch->time_ns / 6)
            stretch->n_first = stretch->n;
        if (passed < stretch->time_ns / 6 * 5)
            stretch->n_before_last = stretch->n;
    }
    pthread_mutex_unlock(&stretch->lock);
    if (is_over)
        return false;
    due += stretch->began_ns;
    struct timespec then = {.tv_sec = (time_t)(due / NS), .tv_nsec = (long)(due % NS)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL);
    return true;
}

/* True: it got what it wanted. */
static bool run_program(struct daemon_client *client, size_t index)
{
    int status = -1;
    pid_t child = has_own_memory ? fork() : vfork();
    if (child == 0)
        be_program(client, index);
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

static void *start_some(void *data)
{
    struct stretch *stretch = data;
    struct daemon_client *client = bench_pages(sizeof(*client));
    size_t index;
    while (next_program(stretch, &index)) {
        if (run_program(client, index))
            continue;
        pthread_mutex_lock(&stretch->lock);
        stretch->n_failed++;
        pthread_mutex_unlock(&stretch->lock);
    }
    munmap(client, sizeof(*client));
    return NULL;
}

static void run_stretch(struct stretch *stretch)
{
    pthread_t starters[MAX_AT_ONCE];
    pthread_attr_t attributes;
    pthread_mutex_init(&stretch->lock, NULL);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    stretch->began_ns = bench_now_ns();
    for (unsigned i = 0; i < MAX_AT_ONCE; i++) {
        errno = pthread_create(&starters[i], &attributes, start_some, stretch);
        if (errno)
            bench_die("pthread_create");
    }
    for (unsigned i = 0; i < MAX_AT_ONCE; i++)
        pthread_join(starters[i], NULL);
    pthread_attr_destroy(&attributes);
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
    has_own_memory = argc == 6 && strcmp(argv[5], "fork") == 0;
    if (argc != 5 + has_own_memory || per_second < 1 || per_second > 100000 || seconds > 3600)
        bench_usage(argv[0], usage);
    size_t n_warm = per_second, n_most = per_second * seconds;
    Hakmem__StatsReply stats;
    path = argv[1];
    latency_us = mmap(NULL, (n_warm + n_most) * sizeof(*latency_us), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (latency_us == MAP_FAILED)
        bench_die("mmap");

    struct stretch warm_up = {.per_second = per_second, .time_ns = NS};
    run_stretch(&warm_up);
    settle(&stats);
    uint64_t n_late = stats.loop_late_own_total;
    struct held before = look(pid);
    uint64_t began = bench_now_ns();
    double cpu_s = daemon_cpu_s(pid);
    struct stretch stretch = {.from = n_warm, .per_second = per_second, .time_ns = seconds * NS};
    run_stretch(&stretch);
    double elapsed_s = (double)(bench_now_ns() - began) * 1e-9;
    bool is_clean = settle(&stats);
    cpu_s = daemon_cpu_s(pid) - cpu_s;
    struct held after = look(pid);
    size_t n = stretch.n;
    struct samples first = samples_of(n_warm, stretch.n_first),
                   last = samples_of(n_warm + stretch.n_before_last, n - stretch.n_before_last);
    printf("{\"programs\": %zu, \"failed\": %u, \"per_second\": %.0f, \"all_gone\": %s, ", n,
           stretch.n_failed, (double)n / elapsed_s, is_clean ? "true" : "false");
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
