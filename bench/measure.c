/*
 * measure: runs a command and says what it cost. The driver starts every measured process through
 * it, because a small launcher costs the measured process nothing: a child's ru_maxrss starts at
 * its parent's size, and a shell's or an interpreter's spawn would be in the whole-process times.
 *
 *   measure [--env NAME=VALUE]... [--timeout SECONDS] [--repeat N] [--sample-ms MS] [--stdout FILE]
 * [--stderr FILE]
 *           -- COMMAND [ARGUMENT]...
 *
 * Prints one JSON object. With --repeat, the command runs N times one after the other, and the
 * times are those of each. With --sample-ms it looks at the memory of the command's process group
 * every MS milliseconds, which disturbs it: the driver does that in a run that is not timed. A
 * command over its time, or when the launcher is sent SIGTERM, is killed with its whole group.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ENV    32
#define MAX_REPEAT 100000u

extern char **environ;

struct options {
    const char *env[MAX_ENV];
    size_t n_env;
    unsigned timeout_s;
    unsigned n_repeat;
    unsigned sample_ms;
    const char *stdout_path;
    const char *stderr_path;
    char **command;
};

/* Sums over the processes of one group at one moment; peaks over the samples. */
struct sampled {
    uint64_t rss_kib;
    uint64_t pss_kib;
    uint64_t shmem_kib;
};

static volatile sig_atomic_t group;
static volatile sig_atomic_t timed_out;

static void on_alarm(int signal_number)
{
    (void)signal_number;
    timed_out = 1;
    if (group > 0)
        kill(-(pid_t)group, SIGKILL);
}

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static void fail(const char *what)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(errno));
    exit(125);
}

static unsigned parse_number(const char *text, unsigned most)
{
    char *end;
    unsigned long value = text ? strtoul(text, &end, 10) : 0;
    if (!text || end == text || *end || value > most) {
        fprintf(stderr, "measure: not a number up to %u: %s\n", most, text ? text : "nothing");
        exit(125);
    }
    return (unsigned)value;
}

static void parse_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.timeout_s = 60, .n_repeat = 1};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (!strcmp(argv[i], "--")) {
            o->command = argv + i + 1;
            break;
        } else if (!strcmp(argv[i], "--env") && value && o->n_env < MAX_ENV) {
            o->env[o->n_env++] = value;
        } else if (!strcmp(argv[i], "--timeout")) {
            o->timeout_s = parse_number(value, 86400);
        } else if (!strcmp(argv[i], "--repeat")) {
            o->n_repeat = parse_number(value, MAX_REPEAT);
        } else if (!strcmp(argv[i], "--sample-ms")) {
            o->sample_ms = parse_number(value, 60000);
        } else if (!strcmp(argv[i], "--stdout") && value) {
            o->stdout_path = value;
        } else if (!strcmp(argv[i], "--stderr") && value) {
            o->stderr_path = value;
        } else {
            fprintf(stderr, "measure: unknown option: %s\n", argv[i]);
            exit(125);
        }
    }
    if (!o->command || !o->command[0] || !o->n_repeat) {
        fprintf(stderr, "usage: measure [OPTION VALUE]... -- COMMAND [ARGUMENT]...\n");
        exit(125);
    }
}

/* The environment of ours with the given variables in place of any of the same name. */
static char **build_environment(const struct options *o)
{
    size_t n = 0;
    while (environ[n])
        n++;
    char **result = calloc(n + o->n_env + 1, sizeof(*result));
    if (!result)
        fail("calloc");
    size_t n_result = 0;
    for (size_t i = 0; i < n; i++) {
        bool replaced = false;
        for (size_t j = 0; j < o->n_env; j++) {
            size_t length = strcspn(o->env[j], "=") + 1;
            replaced = replaced || !strncmp(environ[i], o->env[j], length);
        }
        if (!replaced)
            result[n_result++] = environ[i];
    }
    for (size_t j = 0; j < o->n_env; j++)
        result[n_result++] = (char *)o->env[j];
    return result;
}

static void redirect(posix_spawn_file_actions_t *actions, int descriptor, const char *path)
{
    if (path)
        posix_spawn_file_actions_addopen(actions, descriptor, path, O_WRONLY | O_CREAT | O_APPEND,
                                         0644);
}

static pid_t spawn(const struct options *o, char **environment)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    redirect(&actions, 1, o->stdout_path);
    redirect(&actions, 2, o->stderr_path);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    pid_t child;
    errno = posix_spawnp(&child, o->command[0], &actions, &attributes, o->command, environment);
    if (errno)
        fail(o->command[0]);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return child;
}

static uint64_t read_kib(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    char line[256];
    uint64_t value = 0;
    size_t length = strlen(key);
    while (file && fgets(line, sizeof(line), file))
        if (!strncmp(line, key, length))
            value = strtoull(line + length, NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static void sample_group(pid_t leader, struct sampled *peak)
{
    struct sampled sum = {0, 0, 0};
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc))) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || getpgid(pid) != leader)
            continue;
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
        sum.rss_kib += read_kib(path, "Rss:");
        sum.pss_kib += read_kib(path, "Pss:");
        snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
        sum.shmem_kib += read_kib(path, "RssShmem:");
    }
    if (proc)
        closedir(proc);
    if (sum.pss_kib > peak->pss_kib)
        *peak = sum;
}

/* Waits for the child; samples meanwhile if asked to. Its exit status. */
static int await(pid_t child, const struct options *o, struct rusage *usage, struct sampled *peak)
{
    int status;
    if (o->sample_ms) {
        int descriptor = (int)syscall(SYS_pidfd_open, child, 0);
        struct pollfd ended = {.fd = descriptor, .events = POLLIN};
        while (descriptor >= 0 && poll(&ended, 1, (int)o->sample_ms) <= 0)
            sample_group(child, peak);
        if (descriptor >= 0)
            close(descriptor);
    }
    while (wait4(child, &status, 0, usage) < 0)
        if (errno != EINTR)
            fail("wait4");
    return status;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

int main(int argc, char **argv)
{
    struct options o;
    parse_options(argc, argv, &o);
    char **environment = build_environment(&o);
    double *wall_us = calloc(o.n_repeat, sizeof(*wall_us));
    if (!wall_us)
        fail("calloc");
    struct sigaction alarm_action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &alarm_action, NULL);
    sigaction(SIGTERM, &alarm_action, NULL); /* as if its time were up */
    alarm(o.timeout_s);

    struct sampled peak = {0, 0, 0};
    struct rusage usage;
    double user_s = 0, system_s = 0;
    long max_rss_kib = 0, faults = 0, major_faults = 0;
    unsigned n_runs = 0;
    int status = 0;
    while (n_runs < o.n_repeat && status == 0 && !timed_out) {
        double began = now_us();
        pid_t child = spawn(&o, environment);
        group = child;
        status = await(child, &o, &usage, &peak);
        group = 0;
        wall_us[n_runs++] = now_us() - began;
        user_s += seconds(usage.ru_utime);
        system_s += seconds(usage.ru_stime);
        faults += usage.ru_minflt;
        major_faults += usage.ru_majflt;
        max_rss_kib = usage.ru_maxrss > max_rss_kib ? usage.ru_maxrss : max_rss_kib;
    }
    qsort(wall_us, n_runs, sizeof(*wall_us), compare_doubles);
    double total_us = 0;
    for (unsigned i = 0; i < n_runs; i++)
        total_us += wall_us[i];
    printf("{\"exit\": %d, \"signal\": %d, \"timed_out\": %s, \"runs\": %u, ",
           WIFEXITED(status) ? WEXITSTATUS(status) : -1, WIFSIGNALED(status) ? WTERMSIG(status) : 0,
           timed_out ? "true" : "false", n_runs);
    printf("\"wall_us\": %.1f, \"wall_us_mean\": %.1f, \"wall_us_min\": %.1f, ",
           wall_us[n_runs / 2], total_us / n_runs, wall_us[0]);
    printf("\"user_s\": %.6f, \"system_s\": %.6f, \"max_rss_kib\": %ld, \"faults\": %ld, "
           "\"major_faults\": %ld, ",
           user_s / n_runs, system_s / n_runs, max_rss_kib, faults / (long)n_runs,
           major_faults / (long)n_runs);
    printf("\"sampled_rss_kib\": %llu, \"sampled_pss_kib\": %llu, \"sampled_shmem_kib\": %llu}\n",
           (unsigned long long)peak.rss_kib, (unsigned long long)peak.pss_kib,
           (unsigned long long)peak.shmem_kib);
    free(wall_us);
    free(environment);
    return 0;
}
