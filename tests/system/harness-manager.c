/* See harness-manager.h. */
#include "harness-manager.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_MAX_FDS 16
/* Above the numbers that are passed, while they are put in place. */
#define HIGH_FD 5000

void manager_init(struct manager *manager, struct daemon *daemon, size_t limit, bool has_socket)
{
    *manager = (struct manager){.daemon = daemon, .listener = -1, .limit = limit};
    manager->n_offered = limit;
    if (!has_socket)
        return;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, daemon->socket_path, strlen(daemon->socket_path) + 1);
    manager->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    require(manager->listener >= 0);
    require(bind(manager->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    require(chmod(daemon->socket_path, 0666) == 0);
    require(listen(manager->listener, 4096) == 0);
}

void manager_deinit(struct manager *manager)
{
    if (manager->daemon->pid > 0)
        (void)manager_end(manager, SIGKILL);
    for (size_t i = 0; i < manager->n_stored; i++)
        close(manager->stored[i].fd);
    manager->n_stored = 0;
    if (manager->listener >= 0)
        close(manager->listener);
    manager->listener = -1;
}

void manager_put(struct manager *manager, const char *name, int fd)
{
    require(manager->n_stored < MANAGER_CAPACITY && strlen(name) < 256);
    strcpy(manager->stored[manager->n_stored].name, name);
    manager->stored[manager->n_stored++].fd = fd;
}

/* ---- what the daemon says ---- */

/* The value of a line KEY=value of the message, or NULL. */
static char *value_of(const char *message, const char *key)
{
    static char value[1024];
    size_t n = strlen(key);
    for (const char *line = message; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == '=') {
            snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + n + 1, "\n"), line + n + 1);
            return value;
        }
    }
    return NULL;
}

static void require_good_name(const struct manager *manager, const char *name)
{
    require(name && name[0] && strlen(name) <= 255);
    for (const char *c = name; *c; c++)
        require(*c > ' ' && *c < 127 && *c != ':');
    for (size_t i = 0; i < manager->n_stored; i++)
        require(strcmp(manager->stored[i].name, name) != 0);
}

static void take_push(struct manager *manager, const char *message, int *fds, size_t n_fds)
{
    require_equal(n_fds, 1);
    require(manager->n_offered > 0);
    require_good_name(manager, value_of(message, "FDNAME"));
    manager->n_pushed++;
    if (manager->n_stored >= manager->limit) {
        manager->n_over_limit++;
        close(fds[0]);
        return;
    }
    manager_put(manager, value_of(message, "FDNAME"), fds[0]);
}

static void take_removal(struct manager *manager, const char *message)
{
    const char *name = value_of(message, "FDNAME");
    require(name != NULL);
    manager->n_removed++;
    for (size_t i = manager->n_stored; i-- > 0;) {
        if (strcmp(manager->stored[i].name, name) != 0)
            continue;
        close(manager->stored[i].fd);
        manager->stored[i] = manager->stored[--manager->n_stored];
    }
}

static void take_message(struct manager *manager, const char *message, int *fds, size_t n_fds)
{
    if (value_of(message, "READY"))
        manager->is_ready = true;
    if (value_of(message, "FDSTORE")) {
        take_push(manager, message, fds, n_fds);
        return;
    }
    if (value_of(message, "FDSTOREREMOVE"))
        take_removal(manager, message);
    for (size_t i = 0; i < n_fds; i++) /* of a BARRIER=1: closing it is the answer */
        close(fds[i]);
}

static bool receive(struct manager *manager)
{
    char text[4096];
    int fds[MESSAGE_MAX_FDS];
    union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(fds))];
    } control;
    struct iovec part = {.iov_base = text, .iov_len = sizeof(text) - 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    size_t n_fds = 0;
    ssize_t n = recvmsg(manager->daemon->notify_socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0 && errno == EAGAIN)
        return false;
    require(n >= 0 && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
    text[n] = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        require(c->cmsg_type == SCM_RIGHTS);
        n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(fds, CMSG_DATA(c), n_fds * sizeof(int));
    }
    take_message(manager, text, fds, n_fds);
    return true;
}

void manager_turn(struct manager *manager, int timeout_ms)
{
    struct pollfd wanted = {.fd = manager->daemon->notify_socket, .events = POLLIN};
    (void)poll(&wanted, 1, timeout_ms);
    while (receive(manager))
        ;
}

/* ---- its life ---- */

/* In the child: descriptors from 3 on, and the environment that says what they are. */
static void pass(void *data)
{
    const struct manager *manager = data;
    static char names[256 * (MANAGER_CAPACITY + 1)];
    char number[32];
    int n = 0;
    size_t length = 0;
    int fds[MANAGER_CAPACITY + 1];
    if (manager->listener >= 0) {
        fds[n++] = manager->listener;
        length = (size_t)sprintf(names, "hakmemd.socket");
    }
    for (size_t i = 0; i < manager->n_stored; i++) {
        length +=
            (size_t)sprintf(names + length, "%s%s", n > 0 ? ":" : "", manager->stored[i].name);
        fds[n++] = manager->stored[i].fd;
    }
    for (int i = 0; i < n; i++)
        fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HIGH_FD);
    for (int i = 0; i < n; i++)
        if (dup2(fds[i], 3 + i) < 0)
            _exit(127);
    if (n > 0) {
        snprintf(number, sizeof(number), "%d", n);
        setenv("LISTEN_FDS", number, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        snprintf(number, sizeof(number), "%d", (int)getpid());
        setenv("LISTEN_PID", number, 1);
    }
    snprintf(number, sizeof(number), "%zu", manager->n_offered);
    if (manager->n_offered > 0)
        setenv("FDSTORE", number, 1);
}

void manager_start(struct manager *manager)
{
    manager->is_ready = false;
    manager->daemon->in_child = pass;
    manager->daemon->in_child_data = manager;
    daemon_spawn(manager->daemon, NULL);
    manager_until(manager, manager->is_ready);
}

int manager_end(struct manager *manager, int signal_number)
{
    struct daemon *daemon = manager->daemon;
    int pidfd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
    require(pidfd >= 0);
    daemon_signal(daemon, signal_number);
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};
    manager_until(manager, poll(&gone, 1, 0) == 1);
    close(pidfd);
    manager_turn(manager, 0);
    return daemon_wait_exit(daemon);
}

void manager_restart(struct manager *manager, int signal_number)
{
    (void)manager_end(manager, signal_number);
    manager_start(manager);
}
