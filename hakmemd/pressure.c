/* See pressure.h. */
#include "hakmemd/pressure.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hakmemd/clock.h"
#include "hakmemd/log.h"

#define STEP_UP_MIN_MS        1000
#define WINDOW_US             2000000 /* unprivileged windows are multiples of two seconds */
#define POLL_MS               2000
#define LOW_PERCENT           10 /* of MemTotal: MemAvailable below that is a sign of pressure */
#define AGE_UNDER_PRESSURE_MS 0

static const struct {
    enum pool_mode mode;
    bool reclaim_now;
    bool refusing;
    enum ledger_pressure told;
} steps[PRESSURE_N_STEPS] = {
    {POOL_OPEN, false, false, LEDGER_PRESSURE_NONE},
    {POOL_NO_WARM, false, false, LEDGER_PRESSURE_NONE},
    {POOL_NO_SPARE, false, false, LEDGER_PRESSURE_NONE},
    {POOL_MINIMUM, true, false, LEDGER_PRESSURE_SOME},
    {POOL_MINIMUM, true, true, LEDGER_PRESSURE_CRITICAL},
};

/* ---- the ladder ---- */

static void take_step(struct pressure *pressure, unsigned step)
{
    pressure->step = step;
    pressure->last_step_ms = clock_now_ms();
    *pressure->refusing = steps[step].refusing;
    pool_set_mode(pressure->pool, pressure->drained ? POOL_CLOSED : steps[step].mode);
    reclaim_set_age(pressure->reclaim,
                    steps[step].reclaim_now ? AGE_UNDER_PRESSURE_MS : pressure->reclaim->idle_ms);
    list_for_each(it, pressure->clients)
    {
        client_set_pressure(list_entry(it, struct client, link), steps[step].told);
    }
    evtimer_del(pressure->step_timer);
    if (step > 0) {
        struct timeval quiet = clock_timeval(pressure->settings.quiet_ms);
        evtimer_add(pressure->step_timer, &quiet);
    }
}

void pressure_rise(struct pressure *pressure)
{
    pressure->stats->pressure_events_total++;
    if (pressure->step > 0 && clock_now_ms() - pressure->last_step_ms < STEP_UP_MIN_MS)
        return;
    if (pressure->step == 0)
        log_info(NULL, "memory pressure: giving back");
    /* At the top, too: the quiet spell begins anew. */
    take_step(pressure,
              pressure->step + 1 < PRESSURE_N_STEPS ? pressure->step + 1 : pressure->step);
}

void pressure_fall(struct pressure *pressure)
{
    if (pressure->step == 0)
        return;
    take_step(pressure, pressure->step - 1);
    if (pressure->step == 0)
        log_info(NULL, "memory pressure is over");
}

static void on_quiet_spell(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    pressure_fall(data);
}

void pressure_set_drained(struct pressure *pressure, bool drained)
{
    pressure->drained = drained;
    pool_set_mode(pressure->pool, drained ? POOL_CLOSED : steps[pressure->step].mode);
}

enum ledger_pressure pressure_level(const struct pressure *pressure)
{
    return steps[pressure->step].told;
}

const char *pressure_source(const struct pressure *pressure)
{
    return pressure->source;
}

/* ---- the signs ---- */

static void on_trigger(evutil_socket_t fd, short what, void *data)
{
    (void)what;
    struct pressure *pressure = data;
    struct epoll_event event;
    if (epoll_wait(fd, &event, 1, 0) <= 0)
        return;
    if (event.events & EPOLLERR) { /* the cgroup is gone */
        event_del(pressure->trigger);
        pressure->source = "none";
        log_warning(NULL, "the source of memory pressure is gone");
        return;
    }
    pressure_rise(pressure);
}

/* What systemd would have us write to the file, base64 in $MEMORY_PRESSURE_WRITE, is a trigger in
 * our own words. */
static int open_trigger(const char *path, uint64_t some_us)
{
    char trigger[64];
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int n =
        snprintf(trigger, sizeof(trigger), "some %llu %d", (unsigned long long)some_us, WINDOW_US);
    if (write(fd, trigger, (size_t)n + 1) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

static bool open_psi(struct pressure *pressure, struct event_base *base)
{
    const char *path = getenv("MEMORY_PRESSURE_WATCH");
    if (path && strcmp(path, "/dev/null") == 0) /* systemd: watching is switched off */
        return false;
    int fd = path ? open_trigger(path, pressure->settings.some_us) : -ENOENT;
    if (fd < 0)
        fd = open_trigger("/proc/pressure/memory", pressure->settings.some_us);
    if (fd < 0)
        return false;
    pressure->trigger_fd = fd;
    pressure->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLPRI};
    if (pressure->epoll_fd < 0 || epoll_ctl(pressure->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return false;
    pressure->trigger =
        event_new(base, pressure->epoll_fd, EV_READ | EV_PERSIST, on_trigger, pressure);
    return pressure->trigger && event_add(pressure->trigger, NULL) == 0;
}

static bool read_meminfo(uint64_t *total_kib, uint64_t *available_kib)
{
    char line[128];
    unsigned long long value;
    int n_found = 0;
    FILE *file = fopen("/proc/meminfo", "re");
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
    struct pressure *pressure = data;
    uint64_t total_kib, available_kib;
    if (read_meminfo(&total_kib, &available_kib) && available_kib < total_kib / 100 * LOW_PERCENT)
        pressure_rise(pressure);
}

static int open_source(struct pressure *pressure, struct event_base *base)
{
    uint64_t total_kib, available_kib;
    if (!pressure->settings.enabled)
        return 0;
    if (open_psi(pressure, base)) {
        pressure->source = "psi";
    } else if (read_meminfo(&total_kib, &available_kib)) {
        struct timeval interval = clock_timeval(POLL_MS);
        pressure->poll_timer = event_new(base, -1, EV_PERSIST, on_poll, pressure);
        if (!pressure->poll_timer || event_add(pressure->poll_timer, &interval) < 0)
            return -ENOMEM;
        pressure->source = "meminfo";
    }
    return 0;
}

int pressure_init(struct pressure *pressure, const struct pressure_settings *settings,
                  struct event_base *base, struct pool *pool, struct reclaim *reclaim,
                  struct list *clients, bool *refusing, struct stats *stats)
{
    *pressure = (struct pressure){.settings = *settings,
                                  .pool = pool,
                                  .reclaim = reclaim,
                                  .clients = clients,
                                  .refusing = refusing,
                                  .stats = stats,
                                  .source = "none",
                                  .trigger_fd = -1,
                                  .epoll_fd = -1};
    pressure->step_timer = evtimer_new(base, on_quiet_spell, pressure);
    if (!pressure->step_timer)
        return -ENOMEM;
    return open_source(pressure, base);
}

void pressure_apply(struct pressure *pressure, const struct pressure_settings *settings)
{
    pressure->settings.quiet_ms = settings->quiet_ms;
    take_step(pressure, pressure->step);
}

void pressure_deinit(struct pressure *pressure)
{
    if (!pressure->source)
        return;
    if (pressure->trigger)
        event_free(pressure->trigger);
    if (pressure->step_timer)
        event_free(pressure->step_timer);
    if (pressure->poll_timer)
        event_free(pressure->poll_timer);
    if (pressure->epoll_fd >= 0)
        close(pressure->epoll_fd);
    if (pressure->trigger_fd >= 0)
        close(pressure->trigger_fd);
    *pressure = (struct pressure){.trigger_fd = -1, .epoll_fd = -1};
}
