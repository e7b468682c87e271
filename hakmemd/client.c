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

uint32_t client_slots_for(const struct quota_user *user)
{
    struct quota_limits limits = quota_user_limits(user);
    uint64_t n = limits.bytes_per_client >> SUPERSLAB_SHIFT;
    /* Room for runs to be aligned in, also for the smallest quota. */
    if (n < EXTENT_MAX_SLABS)
        n = EXTENT_MAX_SLABS;
    return n > CLIENT_MAX_SLOTS ? CLIENT_MAX_SLOTS : (uint32_t)n;
}

/* ---- what the next daemon is to know ---- */

static void record_client(struct client *client)
{
    struct store_record record = {.kind = STORE_CLIENT,
                                  .uid = client->uid,
                                  .pid = (uint32_t)client->pid,
                                  .n_slots = client->n_slots,
                                  .connected_ms = client->connected_ms};
    if (!store_is_on(client->store) || !store_make_token(client->store, client->token))
        return;
    record.inode = client->mapping->inode;
    int fd = fcntl(client->mapping->fd, F_DUPFD_CLOEXEC, 0);
    record.id = client->id = store_next_client_id(client->store);
    memcpy(record.token, client->token, sizeof(record.token));
    if (fd < 0 || !store_add(client->store, &client->stored, &record, fd, true))
        client->id = 0;
}

/* Before the client can see it. One that cannot be recorded would have its slots handed out twice
 * by the next daemon: so the client does not outlive this one. */
static void record_extent(struct client *client, struct extent *extent)
{
    bool is_kept = client->stored.index != 0;
    struct store_record record =
        extent_record(extent, is_kept ? STORE_LEASE : STORE_ORPHAN, client->uid);
    record.owner = client->stored.index;
    record.owner_id = client->id;
    record.first_slot = extent->first_slot;
    if (extent->stored.index > 0)
        store_change(client->store, &extent->stored, &record);
    else if (store_is_on(client->store) &&
             !store_add(client->store, &extent->stored, &record, extent->fd, false))
        store_drop(client->store, &client->stored);
}

static void record_leaving(struct client *client, struct extent *extent)
{
    struct store_record record = extent_record(extent, STORE_ORPHAN, client->uid);
    store_change(client->store, &extent->stored, &record);
}

/* ---- its life ---- */

static struct client *client_alloc(struct ledgers *ledgers, pid_t pid, uid_t uid)
{
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return NULL;
    list_init(&client->link);
    list_init(&client->leases);
    list_init(&client->lost);
    client->store = ledgers->store;
    client->pid = pid;
    client->uid = uid;
    return client;
}

int client_new(struct quota *quota, struct ledgers *ledgers, struct cgroups *cgroups, pid_t pid,
               uid_t uid, uint64_t cgroup_id, uint64_t daemon_epoch, struct client **client_out)
{
    struct client *client = client_alloc(ledgers, pid, uid);
    if (!client)
        return -ENOMEM;
    client->connected_ms = clock_now_ms();
    int r = quota_user_ref(quota, uid, &client->user);
    if (r < 0)
        goto out;
    r = quota_charge(&client->charge, client->user, QUOTA_CLIENTS, 1);
    if (r != 0)
        goto out;
    client->n_slots = client_slots_for(client->user);
    client->slots = slots_new(client->n_slots);
    r = -ENOMEM;
    if (!client->slots)
        goto out;
    r = ledgers_make(ledgers, client->n_slots, daemon_epoch, !client->user->has_override,
                     &client->mapping);
    if (r < 0)
        goto out;
    client->cgroup = cgroups_get(cgroups, pid, cgroup_id);
    record_client(client);
    *client_out = client;
    return 0;
out:
    client_free(client);
    return r;
}

int client_adopt(struct quota *quota, struct ledgers *ledgers, struct cgroups *cgroups,
                 const struct store_record *record, uint32_t index, int ledger_fd,
                 struct client **client_out)
{
    if (record->n_slots < EXTENT_MAX_SLABS || record->n_slots > CLIENT_MAX_SLOTS || record->id == 0)
        return -EINVAL;
    struct client *client = client_alloc(ledgers, (pid_t)record->pid, record->uid);
    if (!client)
        return -ENOMEM;
    client->id = record->id;
    memcpy(client->token, record->token, sizeof(client->token));
    client->connected_ms = record->connected_ms;
    client->n_slots = record->n_slots;
    int r = quota_user_ref(quota, client->uid, &client->user);
    if (r == 0)
        r = quota_charge_held(&client->charge, client->user, QUOTA_CLIENTS, 1);
    client->slots = r == 0 ? slots_new(client->n_slots) : NULL;
    if (r == 0)
        r = client->slots ? ledgers_adopt(ledgers, ledger_fd, client->n_slots, &client->mapping)
                          : -ENOMEM;
    if (r != 0) {
        client_free(client);
        return r < 0 ? r : -EINVAL;
    }
    client->cgroup = cgroups_get(cgroups, client->pid, 0);
    store_keep(client->store, index, &client->stored);
    *client_out = client;
    return 0;
}

struct ledger *client_ledger(struct client *client)
{
    return ledgers_map(client->mapping);
}

static void lost_free(struct client *client, struct client_lost *lost)
{
    list_remove(&lost->link);
    slots_return(client->slots, lost->first_slot, lost->n_slabs);
    store_drop(client->store, &lost->stored);
    free(lost);
}

void client_free(struct client *client)
{
    if (!client)
        return;
    check_or_trap(list_is_empty(&client->leases) && client->n_working == 0);
    list_for_each_safe(it, &client->lost)
    {
        lost_free(client, list_entry(it, struct client_lost, link));
    }
    list_remove(&client->link);
    store_drop(client->store, &client->stored);
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
    /* A new ledger's are, and there is no need to map it for that. */
    struct ledger *ledger = client->has_returned ? client_ledger(client) : client->mapping->ledger;
    for (uint32_t i = 0; ledger && i < extent->n_slabs; i++) {
        uint32_t *slot = &ledger->slots[extent->first_slot + i];
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

static void put_on_list(struct client *client, struct extent *extent, uint32_t first_slot)
{
    extent->client = client;
    extent->first_slot = first_slot;
    for (uint32_t i = 0; i < extent->n_slabs; i++)
        extent->watch[i] = (struct extent_watch){0};
    list_push_back(&client->leases, &extent->link);
    client->leased_bytes += extent_bytes(extent);
    cgroup_add_leased(client->cgroup, slabs_bytes(extent->paid_slabs), unpaid_bytes(extent));
}

int client_add_extent(struct client *client, struct extent *extent)
{
    check_or_trap(extent->state == EXTENT_LEASED && !extent->client);
    uint32_t first = slots_acquire(client->slots, extent->n_slabs);
    if (first == LEDGER_SLOT_NONE)
        return -ENOSPC;
    put_on_list(client, extent, first);
    extent->punched_slabs = 0;
    empty_slots(client, extent);
    client->n_leases_total++;
    record_extent(client, extent);
    return 0;
}

/* ---- what is taken over from an earlier daemon ---- */

/* Its puncher is dead, and whatever it took of an IDLE SuperSlab nobody relies on. */
static void call_off_punches(struct client *client, const struct extent *extent)
{
    struct ledger *ledger = client_ledger(client); /* an adopted one is mapped */
    for (uint32_t i = 0; i < extent->n_slabs; i++) {
        uint32_t *slot = &ledger->slots[extent->first_slot + i];
        uint32_t word = ledger_slot_read(slot);
        /* Lost against a fork that pins it: its own affair. */
        if (ledger_word_state(word) == SLAB_RECLAIMING)
            (void)ledger_slab_change(slot, word, LEDGER_DAEMON, SLAB_IDLE);
    }
}

int client_readd_extent(struct client *client, struct extent *extent, uint32_t first_slot)
{
    check_or_trap(extent->state == EXTENT_LEASED && !extent->client);
    if (!slots_acquire_at(client->slots, first_slot, extent->n_slabs))
        return -EINVAL;
    put_on_list(client, extent, first_slot);
    /* Which of its pages were ever punched nobody remembers. */
    extent->punched_slabs = extent_all_slabs(extent);
    call_off_punches(client, extent);
    return 0;
}

int client_add_lost(struct client *client, const struct store_record *record, uint32_t index)
{
    struct client_lost *lost = calloc(1, sizeof(*lost));
    if (!lost)
        return -ENOMEM;
    if (!slots_acquire_at(client->slots, record->first_slot, record->n_slots)) {
        free(lost);
        return -EINVAL;
    }
    lost->id = record->id;
    lost->first_slot = record->first_slot;
    lost->n_slabs = record->n_slots;
    store_keep(client->store, index, &lost->stored);
    list_push_back(&client->lost, &lost->link);
    return 0;
}

bool client_remove_lost(struct client *client, uint64_t id)
{
    list_for_each(it, &client->lost)
    {
        struct client_lost *lost = list_entry(it, struct client_lost, link);
        if (lost->id == id) {
            lost_free(client, lost);
            return true;
        }
    }
    return false;
}

bool client_has_let_go(const struct client *client, uint32_t first_slot, uint32_t n_slabs)
{
    const struct ledger *ledger = client->mapping->ledger;
    for (uint32_t i = first_slot; ledger && i < first_slot + n_slabs; i++)
        if (ledger_word_state(ledger_slot_read(&ledger->slots[i])) != SLAB_EMPTY)
            return false;
    return ledger != NULL;
}

void client_remove_extent(struct client *client, struct extent *extent)
{
    check_or_trap(extent->client == client && !extent->care.in_flight);
    slots_return(client->slots, extent->first_slot, extent->n_slabs);
    list_remove(&extent->link);
    client->leased_bytes -= extent_bytes(extent);
    record_leaving(client, extent);
    cgroup_remove_leased(client->cgroup, slabs_bytes(extent->paid_slabs), unpaid_bytes(extent));
    extent->client = NULL;
    client->has_returned = true;
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
    extent->care.punch.job.run = run;
    extent->care.punch.job.done = done;
    client->n_working++;
    extent->care.punch.subject =
        (struct log_subject){.pid = client->pid, .uid = client->uid, .extent = extent->id};
    punchers_submit(extent->extents->punchers, &extent->care.punch, &client->user->n_stuck_punches);
    return true;
}

bool client_leave_after_work(struct extent *extent)
{
    if (!extent->care.in_flight)
        return false;
    extent->care.leaving = true;
    workers_cancel(extent->extents->workers, &extent->care.punch.job);
    return true;
}

void client_end_work(struct extent *extent)
{
    struct client *client = extent->client;
    extent->care.in_flight = false;
    punchers_note_done(extent->extents->punchers, &extent->care.punch);
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
        if (client->n_working == 0)
            break;
        if (extent->care.in_flight)
            workers_cancel(extent->extents->workers, &extent->care.punch.job);
    }
    if (client->n_working == 0)
        on_quiet(client);
}

void client_read_words(const struct client *client, const struct extent *extent,
                       uint32_t words[EXTENT_MAX_SLABS])
{
    const struct ledger *ledger = client->mapping->ledger;
    if (!ledger) { /* figures to show, and nothing to act upon */
        ledgers_read(client->mapping,
                     offsetof(struct ledger, slots) + extent->first_slot * sizeof(words[0]), words,
                     extent->n_slabs * sizeof(words[0]));
        return;
    }
    for (uint32_t i = 0; i < extent->n_slabs; i++)
        words[i] = ledger_slot_read(&ledger->slots[extent->first_slot + i]);
}

void client_count_words(const uint32_t *words, uint32_t n_slabs, struct client_usage *usage)
{
    for (uint32_t i = 0; i < n_slabs; i++) {
        switch (ledger_word_state(words[i])) {
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

void client_add_usage(const struct client *client, struct client_usage *usage)
{
    uint32_t words[EXTENT_MAX_SLABS];
    list_for_each(it, &client->leases)
    {
        const struct extent *extent = list_entry(it, struct extent, link);
        client_read_words(client, extent, words);
        client_count_words(words, extent->n_slabs, usage);
    }
}

void client_set_pressure(struct client *client, enum ledger_pressure pressure)
{
    ledgers_set_pressure(client->mapping, pressure);
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
