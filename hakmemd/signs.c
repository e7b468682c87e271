/* See signs.h. */
#include "hakmemd/signs.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "hakmemd/clock.h"
#include "hakmemd/log.h"

#define WINDOW_US       2000000 /* unprivileged windows are multiples of two seconds */
#define POLL_MS         2000
#define LOW_PERCENT     10 /* of MemTotal: MemAvailable below that is a sign of pressure */
#define WRITE_MAX_BYTES 256
#define DRAIN_READS     16 /* of one callback: a writer that never stops must not keep the loop */

/* ---- sources ---- */

static void describe(struct signs *signs)
{
    static const char *const scopes[] = {"host", "cgroup"};
    static const char *const kinds[] = {"", "psi", "watch", "meminfo", "events", "failcnt"};
    size_t n = 0;
    signs->description[0] = '\0';
    for (size_t i = 0; i < SIGN_N_SCOPES; i++)
        if (signs->sources[i].kind != SIGN_NONE)
            n += (size_t)snprintf(signs->description + n, sizeof(signs->description) - n, "%s%s %s",
                                  n > 0 ? ", " : "", scopes[i], kinds[signs->sources[i].kind]);
    if (n == 0)
        snprintf(signs->description, sizeof(signs->description), "none");
}

static void close_source(struct sign_source *source)
{
    if (source->event)
        event_free(source->event);
    if (source->epoll_fd >= 0)
        close(source->epoll_fd);
    if (source->fd >= 0)
        close(source->fd);
    source->event = NULL;
    source->epoll_fd = -1;
    source->fd = -1;
    source->kind = SIGN_NONE;
}

/* Has `callback` called when `fd` is readable; the source is what it is from then on. */
static bool watch(struct sign_source *source, int fd, enum sign_kind kind,
                  event_callback_fn callback)
{
    source->event = event_new(source->signs->base, fd, EV_READ | EV_PERSIST, callback, source);
    if (!source->event || event_add(source->event, NULL) < 0) {
        close_source(source);
        return false;
    }
    source->kind = kind;
    return true;
}

static void open_next_best(struct sign_source *source);

static void lose(struct sign_source *source)
{
    log_warning(NULL, "a source of memory pressure is gone");
    close_source(source);
    open_next_best(source);
    describe(source->signs);
}

/* ---- PSI ---- */

static void on_trigger(evutil_socket_t fd, short what, void *data)
{
    (void)what;
    struct sign_source *source = data;
    struct epoll_event event;
    if (epoll_wait(fd, &event, 1, 0) <= 0)
        return;
    if (event.events & EPOLLERR) /* the cgroup is gone */
        lose(source);
    else
        source->signs->seen(source->signs->data);
}

/* `words`: what to write, or NULL for a trigger of our own. */
static bool open_psi(struct sign_source *source, const char *path, const void *words,
                     size_t n_bytes, enum sign_kind kind)
{
    char own_words[64];
    if (!words) {
        n_bytes = 1 + (size_t)snprintf(own_words, sizeof(own_words), "some %llu %d",
                                       (unsigned long long)source->signs->some_us, WINDOW_US);
        words = own_words;
    }
    source->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    struct epoll_event event = {.events = EPOLLPRI};
    if (source->fd < 0 || write(source->fd, words, n_bytes) < 0 ||
        (source->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        epoll_ctl(source->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0) {
        close_source(source);
        return false;
    }
    return watch(source, source->epoll_fd, kind, on_trigger);
}

/* ---- systemd's protocol ---- */

int signs_decode(const char *text, unsigned char *bytes, size_t capacity)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strcspn(text, "="), n = 0;
    uint32_t window = 0;
    if (strlen(text) % 4 != 0 || strlen(text) - length > 2 ||
        strspn(text + length, "=") + length != strlen(text))
        return -1;
    for (size_t i = 0; i < length; i++) {
        const char *digit = strchr(digits, text[i]);
        if (!digit)
            return -1;
        window = window << 6 | (uint32_t)(digit - digits);
        if (i % 4 == 0) /* six bits: no byte yet */
            continue;
        if (n == capacity)
            return -1;
        bytes[n++] = (unsigned char)(window >> (6 - 2 * (i % 4)));
    }
    return (int)n;
}

static void on_words(evutil_socket_t fd, short what, void *data)
{
    (void)what;
    struct sign_source *source = data;
    char words[256];
    bool seen = false;
    for (int i = 0; i < DRAIN_READS; i++) {
        ssize_t n = read(fd, words, sizeof(words));
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            lose(source);
            break;
        }
        if (n < 0)
            break;
        seen = true;
    }
    if (seen)
        source->signs->seen(source->signs->data);
}

static int connect_stream(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* What systemd names. False also if there is nothing named. */
static bool open_watch(struct sign_source *source, const char *path)
{
    unsigned char words[WRITE_MAX_BYTES];
    const char *encoded = getenv("MEMORY_PRESSURE_WRITE");
    int n = encoded ? signs_decode(encoded, words, sizeof(words)) : 0;
    struct stat status;
    if (!path || stat(path, &status) < 0)
        return false;
    if (n < 0) {
        log_warning(NULL, "$MEMORY_PRESSURE_WRITE is not base64: not used");
        n = 0;
    }
    if (S_ISREG(status.st_mode))
        return open_psi(source, path, n > 0 ? words : NULL, (size_t)n, SIGN_WATCH);
    if (S_ISFIFO(status.st_mode)) /* for writing, too: then it never ends with its last writer */
        source->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    else if (S_ISSOCK(status.st_mode))
        source->fd = connect_stream(path);
    if (source->fd < 0 || (n > 0 && write(source->fd, words, (size_t)n) != n)) {
        close_source(source);
        return false;
    }
    return watch(source, source->fd, SIGN_WATCH, on_words);
}

/* ---- the own control group's events ---- */

static void look_at_events(struct sign_source *source)
{
    struct signs *signs = source->signs;
    uint64_t n_events = cgroup_n_events(signs->own);
    bool is_more = n_events > signs->n_events;
    signs->n_events = n_events;
    if (is_more)
        signs->seen(signs->data);
}

static void on_events(evutil_socket_t fd, short what, void *data)
{
    (void)what;
    struct sign_source *source = data;
    char changes[4096]; /* which file it was is no matter */
    for (int i = 0; i < DRAIN_READS && read(fd, changes, sizeof(changes)) > 0; i++)
        ;
    look_at_events(source);
}

static bool add_watch(const char *path, void *data)
{
    struct sign_source *source = data;
    if (inotify_add_watch(source->fd, path, IN_MODIFY) >= 0)
        source->kind = SIGN_EVENTS;
    return true;
}

static bool open_events(struct sign_source *source)
{
    source->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (source->fd < 0)
        return false;
    cgroup_visit_event_files(source->signs->own, add_watch, source);
    source->signs->n_events = cgroup_n_events(source->signs->own);
    if (source->kind == SIGN_NONE) {
        close_source(source);
        return false;
    }
    return watch(source, source->fd, SIGN_EVENTS, on_events);
}

/* ---- what has no event: looked at every few seconds ---- */

static bool read_meminfo(const struct host *host, uint64_t *total_kib, uint64_t *available_kib)
{
    char line[128], path[HOST_ROOT_BYTES + 16];
    unsigned long long value;
    int n_found = 0;
    snprintf(path, sizeof(path), "%s/meminfo", host->proc);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (n_found < 2 && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "MemTotal: %llu", &value) == 1) {
            *total_kib = value;
            n_found++;
        } else if (sscanf(line, "MemAvailable: %llu", &value) == 1) {
            *available_kib = value;
            n_found++;
        }
    }
    fclose(file);
    return n_found == 2;
}

static void on_poll(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct signs *signs = data;
    uint64_t total_kib, available_kib;
    if (signs->sources[SIGN_HOST].kind == SIGN_MEMINFO &&
        read_meminfo(signs->host, &total_kib, &available_kib) &&
        available_kib < total_kib / 100 * LOW_PERCENT)
        signs->seen(signs->data);
    if (signs->sources[SIGN_CGROUP].kind == SIGN_FAILCNT)
        look_at_events(&signs->sources[SIGN_CGROUP]);
}

static void poll_as(struct sign_source *source, enum sign_kind kind)
{
    struct timeval interval = clock_timeval(POLL_MS);
    if (event_add(source->signs->poll_timer, &interval) == 0)
        source->kind = kind;
}

static void open_next_best(struct sign_source *source)
{
    struct signs *signs = source->signs;
    uint64_t total_kib, available_kib;
    if (source->scope == SIGN_HOST) {
        if (read_meminfo(signs->host, &total_kib, &available_kib))
            poll_as(source, SIGN_MEMINFO);
    } else if (signs->own && !open_events(source) && cgroup_limit_bytes(signs->own) != UINT64_MAX) {
        poll_as(source, SIGN_FAILCNT);
    }
}

/* ---- the whole ---- */

static void open_sources(struct signs *signs)
{
    struct sign_source *host = &signs->sources[SIGN_HOST], *own = &signs->sources[SIGN_CGROUP];
    const char *named = getenv("MEMORY_PRESSURE_WATCH");
    bool may_watch = !named || strcmp(named, "/dev/null") != 0;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/pressure/memory", signs->host->proc);
    if (!may_watch || !open_psi(host, path, NULL, 0, SIGN_PSI))
        open_next_best(host);
    if (may_watch && open_watch(own, named))
        return;
    if (!may_watch || !cgroups_find_pressure(signs->cgroups, getpid(), path, sizeof(path)) ||
        !open_psi(own, path, NULL, 0, SIGN_PSI))
        open_next_best(own);
}

int signs_init(struct signs *signs, struct event_base *base, const struct host *host,
               const struct cgroups *cgroups, const struct cgroup *own, uint64_t some_us,
               void (*seen)(void *data), void *data)
{
    *signs = (struct signs){.base = base,
                            .host = host,
                            .cgroups = cgroups,
                            .own = own,
                            .some_us = some_us,
                            .seen = seen,
                            .data = data};
    for (size_t i = 0; i < SIGN_N_SCOPES; i++)
        signs->sources[i] = (struct sign_source){
            .signs = signs, .scope = (enum sign_scope)i, .fd = -1, .epoll_fd = -1};
    signs->poll_timer = event_new(base, -1, EV_PERSIST, on_poll, signs);
    if (!signs->poll_timer)
        return -ENOMEM;
    open_sources(signs);
    describe(signs);
    return 0;
}

void signs_deinit(struct signs *signs)
{
    for (size_t i = 0; signs->base && i < SIGN_N_SCOPES; i++)
        close_source(&signs->sources[i]);
    if (signs->poll_timer)
        event_free(signs->poll_timer);
    *signs = (struct signs){0};
}

const char *signs_source(const struct signs *signs)
{
    const char *best = "none";
    for (size_t i = 0; signs->base && i < SIGN_N_SCOPES; i++) {
        enum sign_kind kind = signs->sources[i].kind;
        if (kind == SIGN_PSI || kind == SIGN_WATCH)
            return "psi";
        if (kind == SIGN_MEMINFO)
            best = "meminfo";
    }
    return best;
}

const char *signs_description(const struct signs *signs)
{
    return signs->base ? signs->description : "none";
}
