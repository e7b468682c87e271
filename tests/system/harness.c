/* See harness.h. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/conn.h"
#include "proto/wire.h"

#define OUTPUT_CAPACITY (1 << 18)

static pid_t test_pid;

static void __attribute__((constructor)) remember_test_process(void)
{
    test_pid = getpid();
    signal(SIGPIPE, SIG_IGN);
}

/* ---- requirements ---- */

void harness_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: required%s: %s\n", file, line, getpid() == test_pid ? "" : " (child)",
            what);
    if (getpid() != test_pid)
        _exit(HARNESS_CHILD_FAILED);
    /* Not from another thread: cmocka jumps. */
    if (syscall(SYS_gettid) != test_pid)
        abort();
    _fail(file, line);
    abort();
}

void harness_require_equal(const char *file, int line, const char *what, uint64_t a, uint64_t b)
{
    char text[256];
    if (a == b)
        return;
    snprintf(text, sizeof(text), "%s is %llu, not %llu", what, (unsigned long long)a,
             (unsigned long long)b);
    harness_fail(file, line, text);
}

uint64_t harness_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t harness_deadline(void)
{
    return harness_now_ns() + HARNESS_PATIENCE_MS * 1000000ull;
}

bool harness_is_late(uint64_t deadline)
{
    return harness_now_ns() > deadline;
}

void harness_pause(void)
{
    poll(NULL, 0, 2);
}

/* ---- the daemon ---- */

const char *harness_artifact(const char *name)
{
    static char path[512];
    const char *build = getenv("BUILD");
    snprintf(path, sizeof(path), "%s/%s", build ? build : "build", name);
    return path;
}

void daemon_init(struct daemon *daemon)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memset(daemon, 0, sizeof(*daemon));
    daemon->pid = daemon->control_socket = -1;
    snprintf(daemon->dir, sizeof(daemon->dir), "/tmp/hakmem-test.XXXXXX");
    require(mkdtemp(daemon->dir) != NULL);
    require(chmod(daemon->dir, 0755) == 0);
    snprintf(daemon->socket_path, sizeof(daemon->socket_path), "%s/hakmemd.sock", daemon->dir);
    snprintf(daemon->config_path, sizeof(daemon->config_path), "%s/hakmemd.conf", daemon->dir);
    snprintf(daemon->log_path, sizeof(daemon->log_path), "%s/log", daemon->dir);
    snprintf(daemon->notify_path, sizeof(daemon->notify_path), "%s/notify", daemon->dir);
    daemon_write_config(daemon, "");
    memcpy(address.sun_path, daemon->notify_path, strlen(daemon->notify_path) + 1);
    daemon->notify_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    require(daemon->notify_socket >= 0);
    require(bind(daemon->notify_socket, (struct sockaddr *)&address, sizeof(address)) == 0);
}

void daemon_deinit(struct daemon *daemon)
{
    char command[128];
    if (daemon->control_socket >= 0)
        close(daemon->control_socket);
    if (daemon->pid > 0) {
        kill(daemon->pid, SIGCONT);
        kill(daemon->pid, SIGKILL);
        waitpid(daemon->pid, NULL, 0);
    }
    daemon->pid = daemon->control_socket = -1;
    close(daemon->notify_socket);
    snprintf(command, sizeof(command), "rm -rf '%s'", daemon->dir);
    if (system(command) != 0)
        fprintf(stderr, "left behind: %s\n", daemon->dir);
}

void daemon_configure(struct daemon *daemon, ...)
{
    va_list options;
    daemon->n_options = 0;
    va_start(options, daemon);
    for (const char *option; (option = va_arg(options, const char *));) {
        require(daemon->n_options < DAEMON_MAX_OPTIONS);
        daemon->options[daemon->n_options++] = option;
    }
    va_end(options);
}

void daemon_write_config(struct daemon *daemon, const char *text)
{
    FILE *file = fopen(daemon->config_path, "w");
    require(file != NULL);
    require(fputs(text, file) >= 0);
    require(fclose(file) == 0);
}

void daemon_spawn(struct daemon *daemon, const char *const *arguments)
{
    const char *argv[8 + 2 * DAEMON_MAX_OPTIONS + 16];
    size_t n = 0;
    argv[n++] = harness_artifact("hakmemd");
    argv[n++] = "--config";
    argv[n++] = daemon->config_path;
    argv[n++] = "--socket";
    argv[n++] = daemon->socket_path;
    for (size_t i = 0; i < daemon->n_options; i++) {
        argv[n++] = "-o";
        argv[n++] = daemon->options[i];
    }
    for (size_t i = 0; arguments && arguments[i] && i < 15; i++)
        argv[n++] = arguments[i];
    argv[n] = NULL;

    if (daemon->control_socket >= 0)
        close(daemon->control_socket);
    daemon->control_socket = -1;
    daemon->is_stopping = false;
    daemon->pid = harness_fork();
    if (daemon->pid == 0) {
        int log = open(daemon->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        dup2(log, 1);
        dup2(log, 2);
        struct rlimit limit = {daemon->n_descriptors, daemon->n_descriptors};
        if (daemon->n_descriptors && setrlimit(RLIMIT_NOFILE, &limit) < 0)
            _exit(127);
        setenv("NOTIFY_SOCKET", daemon->notify_path, 1);
        signal(SIGPIPE, SIG_DFL);
        if (daemon->in_child)
            daemon->in_child(daemon->in_child_data);
        execv(argv[0], (char *const *)argv);
        perror(argv[0]);
        _exit(127);
    }
}

void daemon_wait_notified(struct daemon *daemon, const char *prefix)
{
    char message[4096];
    int pidfd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
    require(pidfd >= 0);
    for (;;) {
        struct pollfd wanted[2] = {{.fd = daemon->notify_socket, .events = POLLIN},
                                   {.fd = pidfd, .events = POLLIN}};
        int r = poll(wanted, 2, HARNESS_PATIENCE_MS);
        if (r <= 0 || !(wanted[0].revents & POLLIN)) {
            fprintf(stderr, "no \"%s\" from the daemon, which said:\n%s\n", prefix,
                    daemon_log(daemon));
            close(pidfd);
            harness_fail(__FILE__, __LINE__, "a notification");
        }
        ssize_t n = recv(daemon->notify_socket, message, sizeof(message) - 1, 0);
        require(n >= 0);
        message[n] = 0;
        if (strstr(message, "STOPPING=1"))
            daemon->is_stopping = true;
        /* A message is lines of assignments. */
        char *at = strstr(message, prefix);
        if (at && (at == message || at[-1] == '\n'))
            break;
    }
    close(pidfd);
}

void daemon_wait_ready(struct daemon *daemon)
{
    daemon_wait_notified(daemon, "READY=1");
}

void daemon_start(struct daemon *daemon)
{
    daemon_spawn(daemon, NULL);
    daemon_wait_ready(daemon);
}

void daemon_signal(struct daemon *daemon, int signal_number)
{
    require(daemon->pid > 0);
    require(kill(daemon->pid, signal_number) == 0);
}

int daemon_wait_exit(struct daemon *daemon)
{
    int status = harness_wait(daemon->pid);
    daemon->pid = -1;
    return status;
}

void daemon_kill(struct daemon *daemon)
{
    daemon_signal(daemon, SIGKILL);
    (void)daemon_wait_exit(daemon);
}

void daemon_require_alive(struct daemon *daemon)
{
    int status;
    if (waitpid(daemon->pid, &status, WNOHANG) == 0)
        return;
    daemon->pid = -1;
    fprintf(stderr, "the daemon is gone, status %#x; it said:\n%s\n", status, daemon_log(daemon));
    harness_fail(__FILE__, __LINE__, "a daemon that lives");
}

const char *daemon_log(const struct daemon *daemon)
{
    static char text[OUTPUT_CAPACITY];
    size_t n = 0;
    int fd = open(daemon->log_path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        /* The end is what matters. */
        off_t size = lseek(fd, 0, SEEK_END);
        off_t from = size > (off_t)sizeof(text) - 1 ? size - (off_t)sizeof(text) + 1 : 0;
        ssize_t r = pread(fd, text, sizeof(text) - 1, from);
        n = r > 0 ? (size_t)r : 0;
        close(fd);
    }
    text[n] = 0;
    return text;
}

void daemon_wait_logged(const struct daemon *daemon, const char *text)
{
    uint64_t deadline = harness_deadline();
    while (!strstr(daemon_log(daemon), text)) {
        if (harness_is_late(deadline)) {
            fprintf(stderr, "\"%s\" is not in the daemon's log:\n%s\n", text, daemon_log(daemon));
            harness_fail(__FILE__, __LINE__, "a line in the daemon's log");
        }
        harness_pause();
    }
}

int daemon_n_fds(const struct daemon *daemon)
{
    char path[64];
    int n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon->pid);
    DIR *dir = opendir(path);
    require(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

int daemon_n_pidfds(const struct daemon *daemon)
{
    char path[320], target[64];
    int n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)daemon->pid);
    DIR *dir = opendir(path);
    require(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir));) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)daemon->pid, entry->d_name);
        ssize_t length = readlink(path, target, sizeof(target) - 1);
        target[length < 0 ? 0 : length] = '\0';
        n += strstr(target, "pidfd") != NULL;
    }
    closedir(dir);
    return n;
}

uint64_t daemon_status_kb(const struct daemon *daemon, const char *key)
{
    char path[64], line[256];
    unsigned long long kb = UINT64_MAX;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)daemon->pid);
    FILE *file = fopen(path, "r");
    require(file != NULL);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            kb = strtoull(line + strlen(key) + 1, NULL, 10);
    }
    fclose(file);
    require(kb != UINT64_MAX);
    return kb;
}

int daemon_setup(void **state, const char *const *options, bool is_started)
{
    struct daemon *daemon = malloc(sizeof(*daemon));
    require(daemon != NULL);
    daemon_init(daemon);
    for (; *options; options++) {
        require(daemon->n_options < DAEMON_MAX_OPTIONS);
        daemon->options[daemon->n_options++] = *options;
    }
    if (is_started)
        daemon_start(daemon);
    *state = daemon;
    return 0;
}

int daemon_teardown(void **state)
{
    daemon_deinit(*state);
    free(*state);
    return 0;
}

/* ---- figures ---- */

void stats_get(struct daemon *daemon, Hakmem__StatsReply *stats)
{
    static unsigned char packet[CONN_REPLY_MAX_BYTES];
    static _Alignas(max_align_t) unsigned char bytes[CONN_REPLY_MAX_BYTES];
    struct wire_arena arena = {.bytes = bytes, .capacity = sizeof(bytes)};
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Reply *reply;
    int fds[CONN_MAX_FDS];
    size_t n_bytes = 0, n_fds = 0;

    /* A child must not mix its questions with its parent's. */
    if (daemon->control_socket >= 0 && daemon->control_pid != getpid()) {
        close(daemon->control_socket);
        daemon->control_socket = -1;
    }
    if (daemon->control_socket < 0)
        require_equal(conn_connect(daemon->socket_path, &daemon->control_socket), 0);
    daemon->control_pid = getpid();
    request.id = 1;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    require_equal(wire_pack_request(&request, packet, sizeof(packet), &n_bytes), 0);
    require_equal(conn_send(daemon->control_socket, packet, n_bytes, NULL, 0), 0);
    struct pollfd wanted = {.fd = daemon->control_socket, .events = POLLIN};
    if (poll(&wanted, 1, HARNESS_PATIENCE_MS) != 1)
        harness_fail(__FILE__, __LINE__, "an answer to StatsQuery in time");
    require_equal(conn_recv(daemon->control_socket, packet, sizeof(packet), &n_bytes, fds, &n_fds),
                  0);
    require_equal(wire_unpack_reply(&arena, packet, n_bytes, &reply), 0);
    require_equal(reply->body_case, HAKMEM__REPLY__BODY_STATS);
    *stats = *reply->stats;
    uint64_t accounted = stats->stock_bytes + stats->leased_bytes + stats->orphan_bytes +
                         stats->scrubbing_bytes + stats->discarded_bytes_total;
    if (stats->created_bytes_total != accounted) {
        stats_print(stats);
        harness_require_equal(__FILE__, __LINE__, "bytes accounted for", accounted,
                              stats->created_bytes_total);
    }
}

void stats_print(const Hakmem__StatsReply *stats)
{
    fprintf(stderr,
            "clients %llu connections %llu leases %llu denied %llu | MiB: created %llu = stock %llu"
            " + leased %llu + orphan %llu + scrubbing %llu + discarded %llu | active %llu idle %llu"
            " reclaimed %llu pinned %llu | protocol errors %llu\n",
            (unsigned long long)stats->clients, (unsigned long long)stats->connections_total,
            (unsigned long long)stats->leases_total, (unsigned long long)stats->denied_total,
            (unsigned long long)(stats->created_bytes_total / MIB),
            (unsigned long long)(stats->stock_bytes / MIB),
            (unsigned long long)(stats->leased_bytes / MIB),
            (unsigned long long)(stats->orphan_bytes / MIB),
            (unsigned long long)(stats->scrubbing_bytes / MIB),
            (unsigned long long)(stats->discarded_bytes_total / MIB),
            (unsigned long long)(stats->active_bytes / MIB),
            (unsigned long long)(stats->idle_bytes / MIB),
            (unsigned long long)(stats->reclaimed_bytes / MIB),
            (unsigned long long)(stats->pinned_bytes / MIB),
            (unsigned long long)stats->protocol_errors_total);
}

bool stats_are_quiet(const Hakmem__StatsReply *stats)
{
    return stats->clients == 0 && stats->leased_bytes == 0 && stats->orphan_bytes == 0 &&
           stats->scrubbing_bytes == 0;
}

/* ---- processes ---- */

pid_t harness_fork(void)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t child = fork();
    require(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(HARNESS_CHILD_FAILED);
    }
    return child;
}

int harness_wait(pid_t child)
{
    int status;
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    require(pidfd >= 0);
    struct pollfd wanted = {.fd = pidfd, .events = POLLIN};
    int r;
    do {
        r = poll(&wanted, 1, 3 * HARNESS_PATIENCE_MS);
    } while (r < 0 && errno == EINTR);
    close(pidfd);
    if (r != 1) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        harness_fail(__FILE__, __LINE__, "a process that ends in time");
    }
    require_equal(waitpid(child, &status, 0), child);
    return status;
}

void harness_join(pid_t child)
{
    int status = harness_wait(child);
    require_equal(status, 0);
}

void harness_become(uid_t uid)
{
    require(setgroups(0, NULL) == 0);
    require(setresgid(uid, uid, uid) == 0);
    require(setresuid(uid, uid, uid) == 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void harness_need_root(void)
{
    if (geteuid() != 0) {
        fprintf(stderr, "skipped: other users can be tried by root alone\n");
        skip();
    }
}
