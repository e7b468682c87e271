/* See ledgers.h. */
#include "hakmemd/ledgers.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/atomic.h"
#include "hakmemd/clock.h"
#include "hakmemd/memfd.h"
#include "hakmemd/turn.h"

/* How long after one was taken: when half of them are gone, or before. One makes do for several
 * programs that come close behind each other. */
#define FILL_SOON_MS 5
#define FILL_MS      50

static struct ledger_mapping *mapping_new(struct ledgers *ledgers, uint32_t n_slots)
{
    struct ledger_mapping *mapping = calloc(1, sizeof(*mapping));
    if (!mapping)
        return NULL;
    mapping->ledgers = ledgers;
    mapping->n_slots = n_slots;
    mapping->fd = -1;
    list_init(&mapping->link);
    return mapping;
}

static int make(struct ledgers *ledgers, uint32_t n_slots, uint64_t daemon_epoch,
                struct ledger_mapping **mapping_out)
{
    const struct ledger head = {.magic = LEDGER_MAGIC,
                                .abi_version = LEDGER_ABI_VERSION,
                                .n_slots = n_slots,
                                .daemon_epoch = daemon_epoch};
    const size_t n_bytes = offsetof(struct ledger, counters);
    struct ledger_mapping *mapping = mapping_new(ledgers, n_slots);
    if (!mapping)
        return -ENOMEM;
    int r = memfd_create_ledger(ledger_bytes(n_slots), &mapping->fd);
    if (r == 0 && pwrite(mapping->fd, &head, n_bytes, 0) != (ssize_t)n_bytes) {
        r = -ENOMEM;
        close(mapping->fd);
    }
    if (r < 0) {
        free(mapping);
        return r;
    }
    if (store_is_on(ledgers->store))
        mapping->inode = memfd_inode(mapping->fd);
    *mapping_out = mapping;
    return 0;
}

/* ---- those that lie ready ---- */

static struct ledger_mapping *take_ready(struct ledgers *ledgers)
{
    struct list *first = list_first(&ledgers->ready);
    if (!first)
        return NULL;
    list_remove(first);
    ledgers->n_ready--;
    ledgers->stats->n_ahead_fds--;
    return list_entry(first, struct ledger_mapping, link);
}

static bool drop_one_ready(struct ledgers *ledgers)
{
    struct ledger_mapping *mapping = take_ready(ledgers);
    if (!mapping)
        return false;
    close(mapping->fd);
    free(mapping);
    return true;
}

static void drop_ready(struct ledgers *ledgers)
{
    while (drop_one_ready(ledgers))
        ;
}

static bool has_fds(const struct ledgers *ledgers, uint64_t n)
{
    return stats_fds_available(ledgers->stats, FDS_FOR_PIDFD, n);
}

static void on_fill(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct ledgers *ledgers = data;
    struct ledger_mapping *mapping;
    turn_begin();
    bool may_go_on = true;
    while (may_go_on && ledgers->n_ready < LEDGERS_READY_MAX && has_fds(ledgers, 1) &&
           make(ledgers, ledgers->ready_slots, ledgers->ready_epoch, &mapping) == 0) {
        list_push_back(&ledgers->ready, &mapping->link);
        ledgers->n_ready++;
        ledgers->stats->n_ahead_fds++;
        may_go_on = turn_has_time();
    }
    ledgers->fills_soon = !may_go_on;
    if (!may_go_on)
        event_active(ledgers->fill_event, EV_TIMEOUT, 0);
    turn_end();
}

/* Not at once: who has just been given one is at work, and the next is a while off. */
static void fill_later(struct ledgers *ledgers, uint32_t n_slots, uint64_t daemon_epoch)
{
    const struct timeval soon = clock_timeval(FILL_SOON_MS), later = clock_timeval(FILL_MS);
    if (ledgers->ready_slots != n_slots || ledgers->ready_epoch != daemon_epoch)
        drop_ready(ledgers);
    /* No more than are missing: others come that need some, too, and these would be made again. */
    while (!has_fds(ledgers, 0) && drop_one_ready(ledgers))
        ;
    ledgers->ready_slots = n_slots;
    ledgers->ready_epoch = daemon_epoch;
    bool is_low = ledgers->n_ready < LEDGERS_READY_MAX / 2;
    if (ledgers->fills_soon || (!is_low && evtimer_pending(ledgers->fill_event, NULL)))
        return;
    ledgers->fills_soon = is_low;
    evtimer_add(ledgers->fill_event, is_low ? &soon : &later);
}

int ledgers_init(struct ledgers *ledgers, struct workers *workers, struct store *store,
                 struct event_base *base, struct stats *stats)
{
    *ledgers = (struct ledgers){.workers = workers, .store = store, .stats = stats};
    list_init(&ledgers->ready);
    ledgers->fill_event = evtimer_new(base, on_fill, ledgers);
    return ledgers->fill_event ? 0 : -ENOMEM;
}

void ledgers_deinit(struct ledgers *ledgers)
{
    if (!ledgers->stats)
        return;
    drop_ready(ledgers);
    if (ledgers->fill_event)
        event_free(ledgers->fill_event);
    ledgers->fill_event = NULL;
}

int ledgers_make(struct ledgers *ledgers, uint32_t n_slots, uint64_t daemon_epoch, bool is_usual,
                 struct ledger_mapping **mapping_out)
{
    struct ledger_mapping *mapping = NULL;
    int r = 0;
    if (ledgers->ready_slots == n_slots && ledgers->ready_epoch == daemon_epoch)
        mapping = take_ready(ledgers);
    if (!mapping)
        r = make(ledgers, n_slots, daemon_epoch, &mapping);
    if (r == 0) {
        ledgers->stats->n_ledger_fds++;
        *mapping_out = mapping;
    }
    if (is_usual)
        fill_later(ledgers, n_slots, daemon_epoch);
    return r;
}

/* ---- one client's ---- */

static struct ledger *map(int fd, uint32_t n_slots)
{
    void *ledger = mmap(NULL, ledger_bytes(n_slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return ledger == MAP_FAILED ? NULL : ledger;
}

int ledgers_adopt(struct ledgers *ledgers, int fd, uint32_t n_slots,
                  struct ledger_mapping **mapping_out)
{
    struct stat status;
    if (fstat(fd, &status) < 0 || (uint64_t)status.st_size != ledger_bytes(n_slots) ||
        !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
        return -EINVAL;
    struct ledger_mapping *mapping = mapping_new(ledgers, n_slots);
    if (!mapping)
        return -ENOMEM;
    mapping->ledger = map(fd, n_slots);
    if (!mapping->ledger) {
        free(mapping);
        return -ENOMEM;
    }
    *mapping_out = mapping;
    return 0;
}

static void close_file(struct ledger_mapping *mapping)
{
    if (mapping->fd < 0)
        return;
    close(mapping->fd);
    mapping->fd = -1;
    mapping->ledgers->stats->n_ledger_fds--;
}

static void take_down_run(struct worker_job *job)
{
    struct ledger_mapping *mapping = list_entry(job, struct ledger_mapping, job);
    munmap(mapping->ledger, ledger_bytes(mapping->n_slots));
}

static void take_down_done(struct worker_job *job)
{
    free(list_entry(job, struct ledger_mapping, job));
}

void ledgers_release(struct ledger_mapping *mapping)
{
    if (!mapping)
        return;
    if (mapping->in_flight) {
        mapping->released = true; /* map_done() goes on */
        return;
    }
    close_file(mapping);
    if (!mapping->ledger) {
        free(mapping);
        return;
    }
    mapping->job.run = take_down_run;
    mapping->job.done = take_down_done;
    workers_submit(mapping->ledgers->workers, &mapping->job, WORKER_URGENT);
}

static void show_pressure(struct ledger_mapping *mapping)
{
    /* Relaxed: a hint that orders nothing. */
    atomic_store_relaxed(&mapping->ledger->pressure, mapping->pressure);
}

struct ledger *ledgers_map(struct ledger_mapping *mapping)
{
    if (!mapping->ledger) {
        mapping->ledger = map(mapping->fd, mapping->n_slots);
        if (mapping->ledger)
            show_pressure(mapping);
        if (mapping->ledger && !mapping->in_flight)
            close_file(mapping);
    }
    return mapping->ledger;
}

static void map_run(struct worker_job *job)
{
    struct ledger_mapping *mapping = list_entry(job, struct ledger_mapping, job);
    mapping->made = map(mapping->fd, mapping->n_slots);
}

static void map_done(struct worker_job *job)
{
    struct ledger_mapping *mapping = list_entry(job, struct ledger_mapping, job);
    mapping->in_flight = false;
    if (!mapping->ledger)
        mapping->ledger = mapping->made;
    else if (mapping->made) /* somebody could not wait */
        munmap(mapping->made, ledger_bytes(mapping->n_slots));
    if (mapping->ledger) {
        show_pressure(mapping);
        close_file(mapping);
    }
    if (mapping->released)
        ledgers_release(mapping);
}

void ledgers_map_soon(struct ledger_mapping *mapping)
{
    if (mapping->ledger || mapping->in_flight)
        return;
    mapping->in_flight = true;
    mapping->job.run = map_run;
    mapping->job.done = map_done;
    workers_submit(mapping->ledgers->workers, &mapping->job, WORKER_PROMPT);
}

void ledgers_read(const struct ledger_mapping *mapping, size_t offset, void *to, size_t n_bytes)
{
    if (mapping->ledger)
        memcpy(to, (const char *)mapping->ledger + offset, n_bytes);
    else if (pread(mapping->fd, to, n_bytes, (off_t)offset) != (ssize_t)n_bytes)
        memset(to, 0, n_bytes);
}

void ledgers_set_pressure(struct ledger_mapping *mapping, enum ledger_pressure pressure)
{
    bool is_new = mapping->pressure != (uint32_t)pressure;
    mapping->pressure = (uint32_t)pressure;
    if (mapping->ledger)
        show_pressure(mapping);
    else if (is_new)
        ledgers_map_soon(mapping);
}
