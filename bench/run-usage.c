/*
 * run-usage: runs a command and appends to a file what it cost, as getrusage counts it: one line of
 * key=value.
 *
 *   run-usage FILE COMMAND [ARGUMENT]...
 *
 * Exits as the command does (128 + the signal's number if one ended it).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s FILE COMMAND [ARGUMENT]...\n", argv[0]);
        return 2;
    }
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) {
        fprintf(stderr, "run-usage: %s: %s\n", argv[1], strerror(errno));
        return 2;
    }

    double started = seconds_now();
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        fprintf(stderr, "run-usage: %s: %s\n", argv[2], strerror(errno));
        _exit(127);
    }
    struct rusage usage;
    int status;
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) {
        fprintf(stderr, "run-usage: %s\n", strerror(errno));
        return 2;
    }

    double user = seconds(usage.ru_utime), kernel = seconds(usage.ru_stime);
    dprintf(
        fd, "wall=%.6f user=%.6f kernel=%.6f max_rss_kib=%ld minor_faults=%ld major_faults=%ld\n",
        seconds_now() - started, user, kernel, usage.ru_maxrss, usage.ru_minflt, usage.ru_majflt);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
