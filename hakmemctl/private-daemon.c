/* See private-daemon.h. */
#include "hakmemctl/private-daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define READY_TIMEOUT_MS 10000
#define STOP_TIMEOUT_MS  5000
#define LOG_TAIL_BYTES   2000

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* directory/name, where the buffer is known to hold it (make_directory() sees to that). */
static void path_in(const struct private_daemon *daemon, const char *name,
                    char path[PRIVATE_DAEMON_PATH_BYTES + 16])
{
    snprintf(path, PRIVATE_DAEMON_PATH_BYTES + 16, "%s/%s", daemon->directory, name);
}

static int make_directory(struct private_daemon *daemon)
{
    const char *parent = getenv("TMPDIR");
    /* Where a socket's address cannot hold the path, or the path is relative, /tmp will do. */
    if (!parent || parent[0] != '/' || strlen(parent) > 60)
        parent = "/tmp";
    snprintf(daemon->directory, sizeof(daemon->directory), "%s/hakmem-run.XXXXXX", parent);
    if (!mkdtemp(daemon->directory)) {
        int r = -errno;
        daemon->directory[0] = '\0';
        return r;
    }
    char path[PRIVATE_DAEMON_PATH_BYTES + 16];
    path_in(daemon, "hakmemd.sock", path);
    memcpy(daemon->socket_path, path, strlen(path) + 1);
    return 0;
}

static void remove_directory(struct private_daemon *daemon)
{
    static const char *const names[] = {"hakmemd.sock", "hakmemd.sock.lock", "notify", "log"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PRIVATE_DAEMON_PATH_BYTES + 16];
        path_in(daemon, names[i], path);
        unlink(path);
    }
    rmdir(daemon->directory);
    daemon->directory[0] = '\0';
}

/* The datagram socket on which the daemon says READY=1, as it would to systemd. */
static int listen_for_ready(const struct private_daemon *daemon, int *socket_out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[PRIVATE_DAEMON_PATH_BYTES + 16];
    path_in(daemon, "notify", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    *socket_out = fd;
    return 0;
}

/* In the child: nothing of the terminal, of our signal mask and of a manager above us. Does not
 * return. */
static void become_daemon(const struct private_daemon *daemon, const char *program, char **argv,
                          pid_t parent)
{
    char path[PRIVATE_DAEMON_PATH_BYTES + 16];
    sigset_t none;

    /* Its own session, so that ^C reaches the command and not the daemon; and it never outlives us.
     */
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    path_in(daemon, "log", path);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (log < 0 || nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        _exit(1);
    path_in(daemon, "notify", path);
    setenv("NOTIFY_SOCKET", path, 1);
    unsetenv("LD_PRELOAD");
    unsetenv("MEMORY_PRESSURE_WATCH");
    unsetenv("MEMORY_PRESSURE_WRITE");
    unsetenv("WATCHDOG_USEC");
    execv(program, argv);
    dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

static int spawn(struct private_daemon *daemon, const char *program, const char *const *options,
                 size_t n_options)
{
    char **argv = calloc(6 + 2 * n_options, sizeof(*argv));
    if (!argv)
        return -ENOMEM;
    size_t n = 0;
    argv[n++] = (char *)program;
    /* The host's configuration is for the host's daemon. */
    argv[n++] = "--config";
    argv[n++] = "/dev/null";
    argv[n++] = "--socket";
    argv[n++] = daemon->socket_path;
    for (size_t i = 0; i < n_options; i++) {
        argv[n++] = "-o";
        argv[n++] = (char *)options[i];
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become_daemon(daemon, program, argv, parent);
    int r = pid < 0 ? -errno : 0;
    free(argv);
    if (r == 0)
        daemon->pid = pid;
    return r;
}

static void copy_last_words(const struct private_daemon *daemon)
{
    char path[PRIVATE_DAEMON_PATH_BYTES + 16], words[LOG_TAIL_BYTES];
    path_in(daemon, "log", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t n_bytes = lseek(fd, 0, SEEK_END);
    lseek(fd, n_bytes > LOG_TAIL_BYTES ? n_bytes - LOG_TAIL_BYTES : 0, SEEK_SET);
    ssize_t n = read(fd, words, sizeof(words));
    if (n > 0)
        fwrite(words, 1, (size_t)n, stderr);
    close(fd);
}

/* Is one of the message's lines READY=1? */
static bool says_ready(const char *message)
{
    for (const char *line = message; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "READY=1", 7) == 0 && (line[7] == '\n' || line[7] == '\0'))
            return true;
    }
    return false;
}

/* 0 once it is ready; -ECHILD if it dies first. */
static int wait_ready(struct private_daemon *daemon, int notify)
{
    int pidfd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
    if (pidfd < 0)
        return -errno;
    int64_t deadline_ms = now_ms() + READY_TIMEOUT_MS;
    int r = -EAGAIN;
    while (r == -EAGAIN) {
        struct pollfd wanted[] = {{.fd = notify, .events = POLLIN},
                                  {.fd = pidfd, .events = POLLIN}};
        int64_t left_ms = deadline_ms - now_ms();
        int n = left_ms > 0 ? poll(wanted, 2, (int)left_ms) : 0;
        char message[4096];
        ssize_t n_bytes;
        if (n < 0 && errno != EINTR)
            r = -errno;
        else if (n == 0)
            r = -ETIMEDOUT;
        else if (n > 0 && (wanted[0].revents & POLLIN) &&
                 (n_bytes = recv(notify, message, sizeof(message) - 1, 0)) > 0) {
            message[n_bytes] = '\0';
            r = says_ready(message) ? 0 : -EAGAIN;
        } else if (n > 0 && wanted[1].revents)
            r = -ECHILD;
    }
    close(pidfd);
    return r;
}

int private_daemon_start(const char *program, const char *const *options, size_t n_options,
                         struct private_daemon *daemon_out)
{
    struct private_daemon daemon = {.pid = 0};
    int notify = -1;
    int r = make_directory(&daemon);
    if (r < 0)
        return r;
    r = listen_for_ready(&daemon, &notify);
    if (r == 0)
        r = spawn(&daemon, program, options, n_options);
    if (r == 0)
        r = wait_ready(&daemon, notify);
    if (notify >= 0)
        close(notify);
    if (r < 0) {
        if (r == -ECHILD)
            copy_last_words(&daemon);
        if (daemon.pid > 0) {
            kill(daemon.pid, SIGKILL);
            waitpid(daemon.pid, NULL, 0);
        }
        remove_directory(&daemon);
        return r;
    }
    *daemon_out = daemon;
    return 0;
}

/* Waits for its end, at most so long; then kills. The exit status as of waitpid(). */
static int reap(pid_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int64_t deadline_ms = now_ms() + STOP_TIMEOUT_MS;
    int n = 0;
    while (pidfd >= 0 && n <= 0 && now_ms() < deadline_ms) {
        struct pollfd wanted = {.fd = pidfd, .events = POLLIN};
        n = poll(&wanted, 1, (int)(deadline_ms - now_ms()) + 1);
    }
    if (n <= 0)
        kill(pid, SIGKILL);
    if (pidfd >= 0)
        close(pidfd);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

void private_daemon_stop(struct private_daemon *daemon)
{
    if (daemon->pid <= 0)
        return;
    kill(daemon->pid, SIGTERM);
    int status = reap(daemon->pid);
    if (status != 0) {
        if (WIFSIGNALED(status))
            fprintf(stderr, "hakmemctl: the private hakmemd died of signal %d\n", WTERMSIG(status));
        else
            fprintf(stderr, "hakmemctl: the private hakmemd failed with status %d\n",
                    WEXITSTATUS(status));
        copy_last_words(daemon);
    }
    daemon->pid = 0;
    remove_directory(daemon);
}
