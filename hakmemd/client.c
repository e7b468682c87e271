/* See client.h. */
#include "hakmemd/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmemd/clock.h"

/* A client that keeps changing a word under our hands gets it as it left it: its own loss. */
#define EMPTYING_TRIES 8

const char *client_program(struct client *client)
{
    char path[32];
    char *name = client->program;
    if (name[0] != '\0')
        return name;
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)client->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return name;
    ssize_t n = read(fd, name, sizeof(client->program) - 1);
    close(fd);
    if (n < 0)
        n = 0;
    name[n] = '\0';
    /* Printable ASCII only: it goes into protobuf strings and onto terminals. */
    for (char *c = name; *c; c++) {
        if (*c == '\n') {
            *c = '\0';
            break;
        }
        if (*c < ' ' || *c > '~')
            *c = '?';
    }
    return name;
}

static uint32_t slots_for(const struct quota_user *user)
{
    struct quota_limits limits = quota_user_limits(user);
    uint64_t n = limits.bytes_per_client >> SUPERSLAB_SHIFT;
    /* Room for runs to be aligned in, also for the smallest quota. */
    if (n < EXTENT_MAX_SLABS)
        n = EXTENT_MAX_SLABS;
    return n > CLIENT_MAX_SLOTS ? CLIENT_MAX_SLOTS : (uint32_t)n;
}

int client_new(struct quota *quota, struct ledgers *ledgers, struct cgroups *cgroups, pid_t pid,
               uid_t uid, uint64_t daemon_epoch, int *ledger_fd_out, struct client **client_out)
{
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    list_init(&client->link);
    list_init(&client->leases);
    client->pid = pid;
    client->uid = uid;
    client->connected_ms = clock_now_ms();
    int r = quota_user_ref(quota, uid, &client->user);
    if (r < 0)
        goto out;
    r = quota_charge(&client->charge, client->user, QUOTA_CLIENTS, 1);
    if (r != 0)
        goto out;
    client->n_slots = slots_for(client->user);
    client->slots = slots_new(client->n_slots);
    r = -ENOMEM;
    if (!client->slots)
        goto out;
    r = ledgers_take(ledgers, client->n_slots, ledger_fd_out, &client->mapping);
    if (r < 0)
        goto out;
    client->cgroup = cgroups_get(cgroups, pid);
    client->ledger = client->mapping->ledger;
    client->ledger->daemon_epoch = daemon_epoch;
    *client_out = client;
    return 0;
out:
    client_free(client);
    return r;
}

void client_free(struct client *client)
{
    if (!client)
        return;
    check_or_trap(list_is_empty(&client->leases) && client->n_working == 0);
    list_remove(&client->link);
    ledgers_release(client->mapping);
    slots_free(client->slots);
    cgroup_unref(client->cgroup);
    quota_discharge(&client->charge);
    quota_user_unref(client->user);
    free(client);
}

/*
 * For the next extent there. Not when an extent leaves: the client may live on without us, and go
 * on using it by what these words say.
 */
static void empty_slots(struct client *client, const struct extent *extent)
{
    for (uint32_t i = 0; i < extent->n_slabs; i++) {
        uint32_t *slot = &client->ledger->slots[extent->first_slot + i];
        for (int tries = 0; tries < EMPTYING_TRIES; tries++) {
            uint32_t word = ledger_slot_read(slot);
            if (!ledger_word_is_valid(word))
                word = 0; /* scribbled over: begin again from nothing */
            else if (ledger_word_state(word) == SLAB_EMPTY ||
                     ledger_slab_change(slot, word, LEDGER_DAEMON, SLAB_EMPTY))
                break;
            /* Relaxed: publishes nothing; the extent's descriptor is sent after it. */
            if (word == 0)
                atomic_store_relaxed(slot, 0);
        }
    }
}

static uint64_t slabs_bytes(unsigned slabs)
{
    return (uint64_t)__builtin_popcount(slabs) << SUPERSLAB_SHIFT;
}

static uint64_t unpaid_bytes(const struct extent *extent)
{
    return extent_bytes(extent) - slabs_bytes(extent->paid_slabs);
}

int client_add_extent(struct client *client, struct extent *extent)
{
    check_or_trap(extent->state == EXTENT_LEASED && !extent->client);
    uint32_t first = slots_acquire(client->slots, extent->n_slabs);
    if (first == LEDGER_SLOT_NONE)
        return -ENOSPC;
    extent->client = client;
    extent->first_slot = first;
    extent->punched_slabs = 0;
    for (uint32_t i = 0; i < extent->n_slabs; i++)
        extent->watch[i] = (struct extent_watch){0};
    empty_slots(client, extent);
    list_push_back(&client->leases, &extent->link);
    client->leased_bytes += extent_bytes(extent);
    cgroup_add_leased(client->cgroup, slabs_bytes(extent->paid_slabs), unpaid_bytes(extent));
    client->n_leases_total++;
    return 0;
}

void client_remove_extent(struct client *client, struct extent *extent)
{
    check_or_trap(extent->client == client && !extent->care.in_flight);
    slots_return(client->slots, extent->first_slot, extent->n_slabs);
    list_remove(&extent->link);
    client->leased_bytes -= extent_bytes(extent);
    cgroup_remove_leased(client->cgroup, slabs_bytes(extent->paid_slabs), unpaid_bytes(extent));
    extent->client = NULL;
}

void client_note_punched(struct extent *extent, uint16_t slabs)
{
    extent->punched_slabs |= slabs;
    uint64_t n_bytes = slabs_bytes(extent->paid_slabs & slabs);
    cgroup_remove_leased(extent->client->cgroup, n_bytes, 0);
    cgroup_add_leased(extent->client->cgroup, 0, n_bytes);
    extent->paid_slabs &= (uint16_t)~slabs;
}

bool client_begin_work(struct extent *extent, void (*run)(struct worker_job *job),
                       void (*done)(struct worker_job *job))
{
    struct client *client = extent->client;
    if (client->ending || extent->care.in_flight)
        return false;
    extent->care.in_flight = true;
    extent->care.job.run = run;
    extent->care.job.done = done;
    client->n_working++;
    workers_submit(extent->extents->workers, &extent->care.job, WORKER_URGENT);
    return true;
}

bool client_leave_after_work(struct extent *extent)
{
    if (!extent->care.in_flight)
        return false;
    extent->care.leaving = true;
    workers_cancel(extent->extents->workers, &extent->care.job);
    return true;
}

void client_end_work(struct extent *extent)
{
    struct client *client = extent->client;
    extent->care.in_flight = false;
    client->n_working--;
    if (extent->care.leaving) {
        extent->care.leaving = false;
        client->on_leave(client, extent);
    }
    if (client->ending && client->n_working == 0)
        client->on_quiet(client);
}

void client_end(struct client *client, void (*on_quiet)(struct client *client))
{
    client->ending = true;
    client->on_quiet = on_quiet;
    list_for_each(it, &client->leases)
    {
        struct extent *extent = list_entry(it, struct extent, link);
        if (extent->care.in_flight)
            workers_cancel(extent->extents->workers, &extent->care.job);
    }
    if (client->n_working == 0)
        on_quiet(client);
}

void client_add_usage(const struct client *client, struct client_usage *usage)
{
    list_for_each(it, &client->leases)
    {
        const struct extent *extent = list_entry(it, struct extent, link);
        for (uint32_t i = 0; i < extent->n_slabs; i++) {
            /* Relaxed: a figure to show. */
            uint32_t word = atomic_load_relaxed(&client->ledger->slots[extent->first_slot + i]);
            switch (ledger_word_state(word)) {
            case SLAB_IDLE:
                usage->idle_bytes += SUPERSLAB_BYTES;
                break;
            case SLAB_RECLAIMING:
            case SLAB_RECLAIMED:
                usage->reclaimed_bytes += SUPERSLAB_BYTES;
                break;
            case SLAB_PINNED:
                usage->pinned_bytes += SUPERSLAB_BYTES;
                break;
            default: /* also EMPTY, leased but not taken up yet, and nonsense */
                usage->active_bytes += SUPERSLAB_BYTES;
                break;
            }
        }
    }
}

void client_set_pressure(struct client *client, enum ledger_pressure pressure)
{
    /* Relaxed: a hint that orders nothing. */
    atomic_store_relaxed(&client->ledger->pressure, (uint32_t)pressure);
}

bool client_is_valid(struct client *client)
{
    uint64_t n_bytes = 0;
    uint32_t n_working = 0;
    list_for_each(it, &client->leases)
    {
        const struct extent *extent = list_entry(it, struct extent, link);
        if (extent->state != EXTENT_LEASED || extent->client != client ||
            extent->first_slot + extent->n_slabs > client->n_slots)
            return false;
        n_bytes += extent_bytes(extent);
        n_working += extent->care.in_flight;
    }
    return n_bytes == client->leased_bytes && n_working == client->n_working;
}
