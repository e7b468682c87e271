/* See server.h. */
#include "hakmemd/server.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "hakmemd/clock.h"
#include "hakmemd/core.h"
#include "hakmemd/notify.h"
#include "hakmemd/turn.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define ACCEPTS_A_TURN  4 /* at most */
#define CLOSE_BEHIND_NS 200000
#define ACCEPT_RETRY_MS 100
/* A few clients with a few extents. */
#define FDS_USEFUL       24
#define FD_LIMIT_COMFORT 4096
#define N_SIGNALS        3
/* Eight bytes of the kernel's memory each. */
#define FD_TABLE_SLOTS 65536

struct server {
    struct server_settings settings;
    server_reload_fn *reload;
    void *reload_data;
    struct event_base *base;
    struct event *signals[N_SIGNALS];
    int listener;
    struct event *listener_event;
    struct event *accept_retry;
    uint64_t accepted_ns; /* the last one */
    bool owns_path;       /* we made the socket file, and unlink it if it is still ours */
    struct stat path_identity;
    struct store_passed passed; /* by the service manager, until it is sorted */
    struct log_limit accept_trouble;

    struct core core;
    struct request_handler *handler;
    struct peers peers;
};

/* ---- the listening socket ---- */

/* Is somebody listening there? A connection that is refused means: no, the file is a leftover. */
static bool is_alive(const char *path)
{
    int fd;
    int r = conn_connect(path, &fd);
    if (r == 0)
        close(fd);
    return r == 0 || r == -EAGAIN;
}

static int remove_stale(const char *path)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode)) {
        log_error(NULL, "%s exists and is not a socket", path);
        return -EEXIST;
    }
    if (is_alive(path)) {
        log_error(NULL, "%s: another daemon is listening there", path);
        return -EADDRINUSE;
    }
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* /run is empty after a boot; without systemd nobody else makes our folder. */
static void make_folder(const char *path)
{
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = '\0';
        mkdir(folder, 0755);
    }
}

static int bind_path(struct server *server, int fd)
{
    const char *path = server->settings.socket_path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, path, strlen(path) + 1);
    make_folder(path);
    int r = remove_stale(path);
    if (r < 0)
        return r;
    /* Nobody connects before the mode is right. */
    mode_t mask = umask(0777);
    r = bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(mask);
    if (r == 0) {
        server->owns_path = true;
        if (listen(fd, SOMAXCONN) < 0 || stat(path, &server->path_identity) < 0 ||
            chmod(path, server->settings.socket_mode) < 0)
            r = -errno;
    }
    if (r < 0)
        log_error(&(struct log_subject){.error = -r}, "cannot listen on %s", path);
    return r;
}

/* All that the service manager passes: the socket, and what an earlier daemon stored with it. */
static int take_passed(struct server *server)
{
    struct store_passed *passed = &server->passed;
    int n = sd_listen_fds_with_names(1, &passed->names);
    if (n <= 0)
        return n;
    passed->fds = malloc((size_t)n * sizeof(int));
    if (!passed->fds)
        return -ENOMEM;
    passed->n = (size_t)n;
    for (int i = 0; i < n; i++)
        passed->fds[i] = SD_LISTEN_FDS_START + i;
    return 0;
}

static void drop_passed(struct store_passed *passed)
{
    for (size_t i = 0; i < passed->n; i++) {
        if (passed->fds[i] >= 0)
            close(passed->fds[i]);
    }
    for (size_t i = 0; passed->names && passed->names[i]; i++)
        free(passed->names[i]);
    free(passed->names);
    free(passed->fds);
    *passed = (struct store_passed){0};
}

/* 1: the listener is the service manager's; 0: it has none for us; or a negative errno. */
static int listen_from_systemd(struct server *server)
{
    struct store_passed *passed = &server->passed;
    size_t n_sockets = 0;
    for (size_t i = 0; i < passed->n; i++) {
        if (sd_is_socket(passed->fds[i], AF_UNSPEC, 0, -1) <= 0)
            continue;
        n_sockets++;
        if (sd_is_socket(passed->fds[i], AF_UNIX, SOCK_SEQPACKET, 1) > 0) {
            server->listener = passed->fds[i];
            passed->fds[i] = -1;
        }
    }
    if (n_sockets == 0)
        return 0;
    if (n_sockets > 1 || server->listener < 0) {
        log_error(NULL, "systemd handed over %zu sockets; wanted: one ListenSequentialPacket=",
                  n_sockets);
        return -EINVAL;
    }
    int flags = fcntl(server->listener, F_GETFL);
    return fcntl(server->listener, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 1;
}

/*
 * Nobody has a descriptor to send us, and to close one that somebody sends may take as long as they
 * like: a TCP socket lingers, a FUSE file asks its server. It would be the loop that waits, also
 * for one that is still in the queue of a connection when that is closed. Who connects from now on
 * cannot send any. Before Linux 6.16 there is no such option.
 */
static void refuse_descriptors(int listener)
{
    const int off = 0;
    (void)setsockopt(listener, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

static int open_listener(struct server *server)
{
    int r = take_passed(server);
    if (r == 0)
        r = listen_from_systemd(server);
    if (r < 0)
        return r;
    if (r > 0) {
        refuse_descriptors(server->listener);
        return 0;
    }
    server->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->listener < 0)
        return -errno;
    refuse_descriptors(server->listener);
    return bind_path(server, server->listener);
}

static void close_listener(struct server *server)
{
    struct stat status;
    if (server->listener_event)
        event_free(server->listener_event);
    server->listener_event = NULL;
    if (server->listener >= 0)
        close(server->listener);
    server->listener = -1;
    if (server->owns_path && stat(server->settings.socket_path, &status) == 0 &&
        status.st_dev == server->path_identity.st_dev &&
        status.st_ino == server->path_identity.st_ino)
        unlink(server->settings.socket_path);
    server->owns_path = false;
}

/* ---- accepting ---- */

/* Out of descriptors or memory: accepting at once again would only spin. */
static void pause_accepting(struct server *server, int error)
{
    struct timeval wait = clock_timeval(ACCEPT_RETRY_MS);
    uint64_t n_suppressed;
    server->core.stats.accept_errors_total++;
    if (log_limit_pass(&server->accept_trouble, &n_suppressed))
        log_warning(&(struct log_subject){.error = error}, "cannot accept connections");
    event_del(server->listener_event);
    evtimer_add(server->accept_retry, &wait);
}

static void on_accept_retry(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct server *server = data;
    if (server->listener_event)
        event_add(server->listener_event, NULL);
}

static void accept_some(struct server *server, int listener)
{
    /* To ask until nobody is left takes a call more than there are, and where they are few, one
     * comes alone. */
    uint64_t now_ns = clock_now_ns();
    unsigned n_most = now_ns - server->accepted_ns < CLOSE_BEHIND_NS ? ACCEPTS_A_TURN : 1;
    server->accepted_ns = now_ns;
    for (unsigned n = 0; n < n_most; n++) {
        if (!stats_fds_available(&server->core.stats, FDS_FOR_PEER, 2)) {
            pause_accepting(server, EMFILE);
            return;
        }
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            peer_accept(&server->peers, fd);
            if (!turn_has_time())
                return;
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(server, errno);
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void on_connection(evutil_socket_t listener, short what, void *data)
{
    (void)what;
    turn_begin();
    accept_some(data, listener);
    turn_end();
}

/* ---- signals ---- */

static void on_stop(evutil_socket_t signal_number, short what, void *data)
{
    (void)what;
    struct server *server = data;
    log_info(NULL, "signal %d: stopping", (int)signal_number);
    event_base_loopbreak(server->base);
}

static struct core_settings core_settings(const struct server_settings *settings)
{
    return (struct core_settings){.host = settings->host,
                                  .pool = settings->pool,
                                  .idle_ms = settings->idle_ms,
                                  .reuse = settings->reuse,
                                  .quota = settings->quota,
                                  .pressure = settings->pressure,
                                  .store_after_ms = settings->store_after_ms,
                                  .reattach_ms = settings->reattach_ms,
                                  .heeds_own_cgroup = true};
}

static void apply(struct server *server, const struct server_settings *settings)
{
    struct core_settings core = core_settings(settings);
    log_set_level(settings->log_level);
    core_apply(&server->core, &core);
    server->peers.settings = settings->peer;
    if (strcmp(settings->socket_path, server->settings.socket_path) != 0)
        log_warning(NULL, "socket.path changes with a restart only");
}

static void on_reload(evutil_socket_t signal_number, short what, void *data)
{
    (void)signal_number;
    (void)what;
    struct server *server = data;
    struct server_settings *settings = calloc(1, sizeof(*settings));
    char reloading[64];
    snprintf(reloading, sizeof(reloading), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)clock_now_ms() * 1000);
    notify_manager(reloading);
    if (settings && server->reload(server->reload_data, settings)) {
        apply(server, settings);
        log_info(NULL, "configuration reloaded");
    }
    free(settings);
    notify_manager("READY=1");
}

static int watch_signals(struct server *server)
{
    static const int numbers[N_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};
    /* SIGIO: the kernel's word that somebody opens a file on which we hold a lease. The proof asks,
     * it does not listen. */
    signal(SIGIO, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < N_SIGNALS; i++) {
        server->signals[i] = evsignal_new(server->base, numbers[i],
                                          numbers[i] == SIGHUP ? on_reload : on_stop, server);
        if (!server->signals[i] || event_add(server->signals[i], NULL) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* ---- putting it together ---- */

/*
 * The kernel's table of descriptors grows by doubling, and once there are threads each time waits
 * for all processors to have passed by: some milliseconds, in whatever call came to need it.
 */
static void widen_fd_table(uint64_t fd_limit)
{
    uint64_t n = fd_limit < FD_TABLE_SLOTS ? fd_limit : FD_TABLE_SLOTS;
    int high = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)n - 1);
    if (high >= 0)
        close(high);
}

static int raise_fd_limit(struct server *server)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    server->core.stats.fd_limit = limit.rlim_cur;
    widen_fd_table(limit.rlim_cur);
    if (!stats_fds_available(&server->core.stats, FDS_FOR_PEER, FDS_USEFUL)) {
        log_error(NULL,
                  "only %llu descriptors allowed, too few to serve anybody: "
                  "raise LimitNOFILE= or ulimit -n",
                  (unsigned long long)limit.rlim_cur);
        return -EMFILE;
    }
    if (limit.rlim_cur < FD_LIMIT_COMFORT)
        log_warning(NULL,
                    "only %llu descriptors allowed: an extent takes one, a client one or two; "
                    "raise LimitNOFILE= or ulimit -n",
                    (unsigned long long)limit.rlim_cur);
    return 0;
}

static int init_core(struct server *server)
{
    struct core_settings settings = core_settings(&server->settings);
    int r = core_init(&server->core, &settings, server->base, &server->passed);
    drop_passed(&server->passed);
    if (r == 0)
        r = request_handler_new(&server->core.control, &server->handler);
    if (r < 0)
        return r;
    peers_init(&server->peers, &server->settings.peer, server->base, server->handler,
               &server->core.quota, &server->core.leases, &server->core.stats);
    return 0;
}

static int init_listener(struct server *server)
{
    int r = open_listener(server);
    if (r < 0)
        return r;
    server->accept_retry = evtimer_new(server->base, on_accept_retry, server);
    server->listener_event =
        event_new(server->base, server->listener, EV_READ | EV_PERSIST, on_connection, server);
    if (!server->accept_retry || !server->listener_event ||
        event_add(server->listener_event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

/* A round of the loop is short, however many are ready (turn.h). */
static struct event_base *make_base(void)
{
    struct event_config *config = event_config_new();
    if (!config)
        return NULL;
    const struct timeval interval = {.tv_usec = TURN_SHORT_US};
    event_config_set_max_dispatch_interval(config, &interval, TURN_MAX_CALLBACKS, 0);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

int server_new(const struct server_settings *settings, server_reload_fn *reload, void *reload_data,
               struct server **server_out)
{
    struct server *server = calloc(1, sizeof(*server));
    if (!server)
        return -ENOMEM;
    server->settings = *settings;
    server->reload = reload;
    server->reload_data = reload_data;
    server->listener = -1;
    server->core.stats.started_ms = clock_now_ms();
    list_init(&server->peers.list);
    log_set_level(settings->log_level);
    int r = raise_fd_limit(server);
    if (r == 0)
        server->base = make_base();
    if (r == 0)
        r = server->base ? watch_signals(server) : -ENOMEM;
    /* The listener first: a daemon that cannot listen should not prewarm before it says so. */
    if (r == 0)
        r = init_listener(server);
    if (r == 0)
        r = init_core(server);
    if (r < 0) {
        log_error(&(struct log_subject){.error = -r}, "cannot start");
        server_free(server);
        return r;
    }
    *server_out = server;
    return 0;
}

int server_run(struct server *server)
{
    notify_manager("READY=1");
    log_info(NULL, "listening on %s",
             server->owns_path ? server->settings.socket_path : "systemd's socket");
    int r = event_base_dispatch(server->base);
    notify_manager("STOPPING=1");
    store_freeze(&server->core.store);
    return r < 0 ? -EIO : 0;
}

void server_free(struct server *server)
{
    if (!server)
        return;
    close_listener(server);
    if (server->accept_retry)
        event_free(server->accept_retry);
    drop_passed(&server->passed);
    core_close(&server->core);
    peers_disconnect_all(&server->peers);
    core_deinit(&server->core);
    request_handler_free(server->handler);
    for (size_t i = 0; i < N_SIGNALS; i++)
        if (server->signals[i])
            event_free(server->signals[i]);
    if (server->base)
        event_base_free(server->base);
    free(server);
}
