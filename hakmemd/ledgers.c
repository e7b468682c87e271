/* See ledgers.h. */
#include "hakmemd/ledgers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hakmemd/memfd.h"

/* Hellos that may come before the next ledger is ready; those beyond wait for it. */
#define N_SPARES 16

void ledgers_init(struct ledgers *ledgers, struct workers *workers, struct store *store)
{
    *ledgers = (struct ledgers){.workers = workers, .store = store};
    list_init(&ledgers->spares);
}

/* On a worker, or on the loop where there is no time to wait for one. */
static int make(struct ledger_mapping *mapping)
{
    size_t n_bytes = ledger_bytes(mapping->n_slots);
    int r = memfd_create_ledger(n_bytes, &mapping->fd);
    if (r < 0)
        return r;
    struct ledger *ledger = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, mapping->fd, 0);
    if (ledger == MAP_FAILED)
        return -errno;
    ledger->magic = LEDGER_MAGIC;
    ledger->abi_version = LEDGER_ABI_VERSION;
    ledger->n_slots = mapping->n_slots;
    mapping->ledger = ledger;
    return 0;
}

static void take_down(struct ledger_mapping *mapping)
{
    if (mapping->ledger)
        munmap(mapping->ledger, ledger_bytes(mapping->n_slots));
    if (mapping->fd >= 0)
        close(mapping->fd);
}

static void make_run(struct worker_job *job)
{
    make(list_entry(job, struct ledger_mapping, job)); /* done() sees what came of it */
}

static void make_done(struct worker_job *job)
{
    struct ledger_mapping *mapping = list_entry(job, struct ledger_mapping, job);
    struct ledgers *ledgers = mapping->ledgers;
    if (mapping->ledger && !ledgers->stopping && mapping->n_slots == ledgers->n_slots) {
        list_push_back(&ledgers->spares, &mapping->link);
    } else {
        ledgers->n_spares--;
        ledgers_release(mapping);
    }
    if (ledgers->on_ready && !ledgers->stopping)
        ledgers->on_ready(ledgers->on_ready_data);
}

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

static void refill(struct ledgers *ledgers)
{
    while (ledgers->n_spares < N_SPARES) {
        struct ledger_mapping *mapping = mapping_new(ledgers, ledgers->n_slots);
        if (!mapping)
            return;
        ledgers->n_spares++;
        mapping->job.run = make_run;
        mapping->job.done = make_done;
        workers_submit(ledgers->workers, &mapping->job, WORKER_PROMPT);
    }
}

static void drop_spares(struct ledgers *ledgers)
{
    list_for_each_safe(it, &ledgers->spares)
    {
        list_remove(it);
        ledgers->n_spares--;
        ledgers_release(list_entry(it, struct ledger_mapping, link));
    }
}

void ledgers_deinit(struct ledgers *ledgers)
{
    if (!ledgers->workers)
        return;
    ledgers->stopping = true;
    drop_spares(ledgers);
}

static void keep_size(struct ledgers *ledgers, uint32_t n_slots)
{
    if (n_slots == ledgers->n_slots)
        return;
    drop_spares(ledgers);
    ledgers->n_slots = n_slots;
}

bool ledgers_are_ready(struct ledgers *ledgers, uint32_t n_slots)
{
    keep_size(ledgers, n_slots);
    refill(ledgers);
    /* Out of memory for even one: then ledgers_take() says so. */
    return !list_is_empty(&ledgers->spares) || ledgers->n_spares == 0;
}

int ledgers_take(struct ledgers *ledgers, uint32_t n_slots, int *fd_out,
                 struct ledger_mapping **mapping_out)
{
    struct ledger_mapping *mapping;
    keep_size(ledgers, n_slots);
    struct list *first = list_first(&ledgers->spares);
    if (first) {
        list_remove(first);
        ledgers->n_spares--;
        mapping = list_entry(first, struct ledger_mapping, link);
    } else {
        mapping = mapping_new(ledgers, n_slots);
        int r = mapping ? make(mapping) : -ENOMEM;
        if (r < 0) {
            if (mapping)
                take_down(mapping);
            free(mapping);
            return r;
        }
    }
    *fd_out = mapping->fd;
    mapping->fd = -1;
    *mapping_out = mapping;
    refill(ledgers);
    return 0;
}

int ledgers_adopt(struct ledgers *ledgers, int fd, uint32_t n_slots,
                  struct ledger_mapping **mapping_out)
{
    struct stat status;
    size_t n_bytes = ledger_bytes(n_slots);
    if (fstat(fd, &status) < 0 || (uint64_t)status.st_size != n_bytes ||
        !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK))
        return -EINVAL;
    struct ledger_mapping *mapping = mapping_new(ledgers, n_slots);
    if (!mapping)
        return -ENOMEM;
    void *ledger = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (ledger == MAP_FAILED) {
        int r = -errno;
        free(mapping);
        return r;
    }
    mapping->ledger = ledger;
    *mapping_out = mapping;
    return 0;
}

static void take_down_run(struct worker_job *job)
{
    take_down(list_entry(job, struct ledger_mapping, job));
}

static void take_down_done(struct worker_job *job)
{
    free(list_entry(job, struct ledger_mapping, job));
}

void ledgers_release(struct ledger_mapping *mapping)
{
    if (!mapping)
        return;
    mapping->job.run = take_down_run;
    mapping->job.done = take_down_done;
    workers_submit(mapping->ledgers->workers, &mapping->job, WORKER_URGENT);
}
