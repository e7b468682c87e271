/*
 * daemon_decay: what the host gets back from programs that are done with their memory and do
 * nothing more.
 *
 *   daemon_decay SOCKET LIBRARY CLIENTS BYTES
 *
 * CLIENTS programs with LIBRARY preloaded grow to BYTES each, free all of it, and wait. Their
 * resident memory is read when they have grown, when they have freed, and when the daemon has taken
 * back what is idle; and how often they ran in between: a program that was not scheduled made no
 * system call. The pages are in one program each, so that resident memory may be added up.
 *
 *   daemon_decay grow BYTES
 *
 * is one such program: it writes a byte to descriptor 1 when it has grown, and when it has freed,
 * and goes on at each byte from descriptor 0.
 */
#include "bench/common.h"
#include "bench/daemon_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB         (1024.0 * 1024.0)
#define MAX_CLIENTS 64
#define BLOCK_BYTES 3000 /* on average */
#define DECAY_S     60

static const char usage[] = "SOCKET LIBRARY CLIENTS BYTES";

struct program {
    pid_t pid;
    int to;   /* its standard input */
    int from; /* its standard output */
};

static struct daemon_client control;
static struct program programs[MAX_CLIENTS];

/* ---- one program ---- */

static void say(void)
{
    if (write(STDOUT_FILENO, "x", 1) != 1)
        exit(1);
}

static void wait_for_word(void)
{
    char word;
    if (read(STDIN_FILENO, &word, 1) != 1)
        exit(1);
}

static int grow(uint64_t n_bytes)
{
    uint64_t state = 42, n_taken = 0;
    size_t n = 0, n_max = n_bytes / (BLOCK_BYTES / 2);
    char **blocks = malloc(n_max * sizeof(*blocks));
    while (n_taken < n_bytes && n < n_max) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t size = 16 + (state >> 33) % (2 * BLOCK_BYTES - 16);
        if (!(blocks[n] = malloc(size)))
            return 1;
        memset(blocks[n++], 0x5a, size);
        n_taken += size;
    }
    say();
    wait_for_word();
    while (n > 0)
        free(blocks[--n]);
    free(blocks);
    say();
    wait_for_word();
    return 0;
}

/* ---- all of them ---- */

static void start(struct program *program, char **argv)
{
    int to[2], from[2];
    if (pipe(to) < 0 || pipe(from) < 0 || (program->pid = fork()) < 0)
        bench_die("pipe or fork");
    if (program->pid == 0) {
        dup2(to[0], STDIN_FILENO);
        dup2(from[1], STDOUT_FILENO);
        for (int fd = 3; fd < 4 * MAX_CLIENTS + 16; fd++)
            close(fd);
        setenv("HAKMEM_SOCKET", argv[1], 1);
        setenv("LD_PRELOAD", argv[2], 1);
        execl("/proc/self/exe", "daemon_decay", "grow", argv[4], (char *)NULL);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    program->to = to[1];
    program->from = from[0];
}

static void wait_for_all(size_t n)
{
    char word;
    for (size_t i = 0; i < n; i++)
        if (read(programs[i].from, &word, 1) != 1)
            bench_die("a program has ended");
}

static void tell_all(size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (write(programs[i].to, "x", 1) != 1)
            bench_die("write to a program");
}

/* Sum over all programs of a figure, or two, of /proc/PID/status that begin so. */
static uint64_t status_sum(size_t n, const char *key)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        char path[64], line[256];
        snprintf(path, sizeof(path), "/proc/%d/status", (int)programs[i].pid);
        FILE *file = fopen(path, "re");
        if (!file)
            bench_die("status of a program");
        while (fgets(line, sizeof(line), file))
            if (strstr(line, key))
                sum += strtoull(strchr(line, ':') + 1, NULL, 10);
        fclose(file);
    }
    return sum;
}

/* All have come to rest: they wait in read(2). */
static void wait_for_rest(size_t n)
{
    uint64_t last = 0, since_ns = bench_now_ns();
    while (bench_now_ns() - since_ns < UINT64_C(50000000)) {
        uint64_t now = status_sum(n, "ctxt_switches");
        if (now != last)
            since_ns = bench_now_ns();
        last = now;
    }
}

/* Nothing is IDLE any more, and what was on its way is done. `context`: the total before. */
static bool is_decayed(const Hakmem__StatsReply *stats, const void *context)
{
    uint64_t done_bytes = stats->reclaimed_bytes_total - *(const uint64_t *)context;
    return stats->idle_bytes == 0 && done_bytes > 0 && done_bytes >= stats->reclaimed_bytes;
}

static void end_all(size_t n)
{
    tell_all(n);
    for (size_t i = 0; i < n; i++)
        waitpid(programs[i].pid, NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "grow") == 0)
        return grow(bench_argument(argc, argv, 2, usage));
    uint64_t n = bench_argument(argc, argv, 3, usage);
    bench_argument(argc, argv, 4, usage);
    if (argc != 5 || n < 1 || n > MAX_CLIENTS)
        bench_usage(argv[0], usage);
    daemon_connect(&control, argv[1]);
    uint64_t before_bytes = daemon_stats(&control).reclaimed_bytes_total;
    for (size_t i = 0; i < n; i++)
        start(&programs[i], argv);
    wait_for_all(n);
    double grown = (double)status_sum(n, "VmRSS") / 1024;
    tell_all(n);
    wait_for_all(n);
    double freed = (double)status_sum(n, "VmRSS") / 1024;
    uint64_t began = bench_now_ns();
    wait_for_rest(n);
    uint64_t switches = status_sum(n, "ctxt_switches");
    bool done = daemon_wait(&control, is_decayed, &before_bytes, DECAY_S);
    double seconds = (double)(bench_now_ns() - began) * 1e-9;
    uint64_t ran = status_sum(n, "ctxt_switches") - switches;
    double decayed = (double)status_sum(n, "VmRSS") / 1024;
    Hakmem__StatsReply stats = daemon_stats(&control);
    end_all(n);
    printf("{\"clients\": %llu, \"grown_mib\": %.1f, \"freed_mib\": %.1f, \"decayed_mib\": %.1f, ",
           (unsigned long long)n, grown, freed, decayed);
    printf("\"reclaimed_mib\": %.1f, \"clients_ran\": %llu, \"seconds\": %.2f, \"done\": %d}\n",
           (double)stats.reclaimed_bytes / MIB, (unsigned long long)ran, seconds, done);
    return done ? 0 : 1;
}
