/* See ledgers.h. */
#include "hakmemd/ledgers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/atomic.h"
#include "hakmemd/memfd.h"

void ledgers_init(struct ledgers *ledgers, struct workers *workers, struct store *store,
                  struct stats *stats)
{
    *ledgers = (struct ledgers){.workers = workers, .store = store, .stats = stats};
}

static struct ledger_mapping *mapping_new(struct ledgers *ledgers, uint32_t n_slots)
{
    struct ledger_mapping *mapping = calloc(1, sizeof(*mapping));
    if (!mapping)
        return NULL;
    mapping->ledgers = ledgers;
    mapping->n_slots = n_slots;
    mapping->fd = -1;
    return mapping;
}

int ledgers_make(struct ledgers *ledgers, uint32_t n_slots, uint64_t daemon_epoch,
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
    ledgers->stats->n_ledger_fds++;
    *mapping_out = mapping;
    return 0;
}

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
