/* See adopt.h. */
#include "hakmemd/adopt.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmemd/clock.h"
#include "hakmemd/log.h"
#include "hakmemd/turn.h"

struct detached {
    struct list link;         /* adopt.detached */
    struct list process_link; /* adopt.processes[] */
    struct adopt *adopt;
    struct client *client;
    int pidfd;    /* -1: not to be had */
    bool is_gone; /* the process has ended already */
    struct event exit_event;
};

static struct list *bucket(struct adopt *adopt, pid_t pid)
{
    return &adopt->processes[(uint32_t)pid % ADOPT_N_BUCKETS];
}

/* ---- the end of waiting ---- */

static void detached_free(struct detached *detached)
{
    list_remove(&detached->link);
    list_remove(&detached->process_link);
    detached->adopt->stats->n_detached--;
    if (detached->pidfd >= 0) {
        event_del(&detached->exit_event);
        close(detached->pidfd);
    }
    free(detached);
}

static void on_quiet(struct client *client)
{
    lease_end(client->on_quiet_data, client);
}

/* It is not coming back: its extents go on as those of a client whose connection has ended. */
static void give_up(struct detached *detached)
{
    struct client *client = detached->client;
    client->on_quiet_data = detached->adopt->leases;
    detached_free(detached);
    client_end(client, on_quiet);
}

static void on_exit_of_client(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    give_up(data);
    turn_end();
}

static void give_up_all(struct adopt *adopt)
{
    list_for_each_safe(it, &adopt->detached)
    {
        give_up(list_entry(it, struct detached, link));
    }
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct adopt *adopt = data;
    struct list *first;
    turn_begin();
    if (!list_is_empty(&adopt->detached) && !adopt->is_over) {
        adopt->is_over = true;
        log_info(NULL, "%llu clients from before the restart did not come back",
                 (unsigned long long)adopt->stats->n_detached);
    }
    for (bool more = true; more && (first = list_first(&adopt->detached)); more = turn_has_time())
        give_up(list_entry(first, struct detached, link));
    if (!list_is_empty(&adopt->detached))
        evtimer_add(adopt->timer, &(struct timeval){0});
    turn_end();
}

/* ---- taking over ---- */

static struct detached *detached_new(struct adopt *adopt, struct client *client)
{
    struct detached *detached = calloc(1, sizeof(*detached));
    if (!detached)
        return NULL;
    detached->adopt = adopt;
    detached->client = client;
    detached->pidfd = (int)syscall(SYS_pidfd_open, client->pid, 0);
    detached->is_gone = detached->pidfd < 0 && errno == ESRCH;
    list_push_back(&adopt->detached, &detached->link);
    list_push_back(bucket(adopt, client->pid), &detached->process_link);
    adopt->stats->n_detached++;
    if (detached->pidfd >= 0) {
        event_assign(&detached->exit_event, adopt->base, detached->pidfd, EV_READ,
                     on_exit_of_client, detached);
        event_add(&detached->exit_event, NULL);
    }
    return detached;
}

static void adopt_client(struct adopt *adopt, const struct store_record *record, uint32_t index,
                         int ledger_fd, struct client **clients)
{
    struct client *client;
    if (ledger_fd < 0 || client_adopt(adopt->quota, adopt->ledgers, adopt->cgroups, record, index,
                                      ledger_fd, &client) < 0)
        return;
    close(ledger_fd); /* mapped, and in the store */
    lease_add_client(adopt->leases, client);
    if (!detached_new(adopt, client)) {
        client->on_quiet_data = adopt->leases;
        client_end(client, on_quiet);
        return;
    }
    clients[index] = client;
}

/* The client of a lease's record, or NULL: it was not kept. */
static struct client *owner_of(const struct store_record *record, struct client **clients)
{
    if (record->kind != STORE_LEASE || record->owner >= STORE_CAPACITY)
        return NULL;
    struct client *client = clients[record->owner];
    return client && client->id == record->owner_id && client->uid == record->uid ? client : NULL;
}

static void adopt_extent(struct adopt *adopt, const struct store_record *record, uint32_t index,
                         int fd, struct client *client)
{
    struct extent *extent;
    struct quota_user *user;
    if (extent_adopt(adopt->leases->pool->extents, record, index, fd, &extent) < 0)
        return;
    int r = quota_user_ref(adopt->quota, record->uid, &user);
    if (r == 0) {
        r = quota_charge_held(&extent->charge, user, QUOTA_BYTES, extent_bytes(extent));
        if (r == 0)
            r = quota_charge_held(&extent->fd_charge, user, QUOTA_FDS, 1);
        quota_user_unref(user);
    }
    extent_change_state(extent, EXTENT_LEASED);
    adopt->stats->adopted_bytes += extent_bytes(extent);
    if (r != 0) {
        extent_discard(extent);
        return;
    }
    if (!client || client_readd_extent(client, extent, record->first_slot) < 0) {
        if (record->kind == STORE_LEASE) { /* nobody's lease any more */
            struct store_record orphan = extent_record(extent, STORE_ORPHAN, record->uid);
            store_change(adopt->store, &extent->stored, &orphan);
        }
        scrub_accept(adopt->leases->scrub, extent);
    }
}

static void adopt_all(struct adopt *adopt, struct client **clients)
{
    struct store_record record;
    int fd;
    for (uint32_t index = 0; store_next(adopt->store, &index, &record, &fd);)
        if (record.kind == STORE_CLIENT)
            adopt_client(adopt, &record, index, fd, clients);
    for (uint32_t index = 0; store_next(adopt->store, &index, &record, &fd);) {
        if (record.kind != STORE_LEASE && record.kind != STORE_ORPHAN)
            continue;
        struct client *client = owner_of(&record, clients);
        if (fd >= 0)
            adopt_extent(adopt, &record, index, fd, client);
        else if (client)
            (void)client_add_lost(client, &record, index);
    }
}

/* When their extents are theirs again, to go the way of a client's that ends. */
static void give_up_the_gone(struct adopt *adopt)
{
    list_for_each_safe(it, &adopt->detached)
    {
        struct detached *detached = list_entry(it, struct detached, link);
        if (detached->is_gone)
            give_up(detached);
    }
}

int adopt_init(struct adopt *adopt, uint64_t reattach_ms, struct event_base *base,
               struct leases *leases, struct quota *quota, struct ledgers *ledgers,
               struct cgroups *cgroups, struct store *store, struct stats *stats)
{
    *adopt = (struct adopt){.base = base,
                            .leases = leases,
                            .quota = quota,
                            .ledgers = ledgers,
                            .cgroups = cgroups,
                            .store = store,
                            .stats = stats};
    list_init(&adopt->detached);
    for (size_t i = 0; i < ADOPT_N_BUCKETS; i++)
        list_init(&adopt->processes[i]);
    if (!store_is_on(store))
        return 0;
    struct client **clients = calloc(STORE_CAPACITY, sizeof(*clients));
    adopt->timer = evtimer_new(base, on_timer, adopt);
    if (!clients || !adopt->timer) {
        free(clients);
        return -ENOMEM;
    }
    adopt_all(adopt, clients);
    free(clients);
    store_finish_adoption(store);
    give_up_the_gone(adopt);
    if (stats->n_detached > 0) {
        struct timeval wait = clock_timeval(reattach_ms);
        evtimer_add(adopt->timer, &wait);
        reclaim_watch(leases->reclaim);
        log_info(NULL, "took over %llu clients and %llu MiB from before the restart",
                 (unsigned long long)stats->n_detached,
                 (unsigned long long)(stats->adopted_bytes >> 20));
    }
    return 0;
}

void adopt_deinit(struct adopt *adopt)
{
    if (!adopt->leases)
        return;
    give_up_all(adopt);
    if (adopt->timer)
        event_free(adopt->timer);
    adopt->timer = NULL;
}

/* ---- coming back ---- */

/* In time that does not depend on where they differ. */
static bool tokens_match(const unsigned char *a, const unsigned char *b)
{
    unsigned char difference = 0;
    for (size_t i = 0; i < STORE_TOKEN_BYTES; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

/*
 * What the client returned while nobody listened, or was sent and never got. By its words alone,
 * which may lie: an extent that is not free is then an orphan, and never punched.
 */
static void take_back_what_it_let_go(struct adopt *adopt, struct client *client)
{
    list_for_each_safe(it, &client->leases)
    {
        struct extent *extent = list_entry(it, struct extent, link);
        if (client_has_let_go(client, extent->first_slot, extent->n_slabs))
            lease_return(adopt->leases, client, extent->id);
    }
    list_for_each_safe(lost_it, &client->lost)
    {
        struct client_lost *lost = list_entry(lost_it, struct client_lost, link);
        if (client_has_let_go(client, lost->first_slot, lost->n_slabs))
            client_remove_lost(client, lost->id);
    }
}

struct client *adopt_reattach(struct adopt *adopt, uint64_t id, const void *token, size_t n_bytes,
                              pid_t pid, uid_t uid)
{
    if (id == 0 || n_bytes != STORE_TOKEN_BYTES)
        return NULL;
    list_for_each(it, bucket(adopt, pid))
    {
        struct detached *detached = list_entry(it, struct detached, process_link);
        struct client *client = detached->client;
        if (client->id != id)
            continue;
        if (client->pid != pid || client->uid != uid || !tokens_match(client->token, token))
            return NULL;
        detached_free(detached);
        adopt->stats->reattached_total++;
        take_back_what_it_let_go(adopt, client);
        return client;
    }
    return NULL;
}

void adopt_forget(struct adopt *adopt, pid_t pid, uid_t uid)
{
    list_for_each_safe(it, bucket(adopt, pid))
    {
        struct detached *detached = list_entry(it, struct detached, process_link);
        if (detached->client->pid == pid && detached->client->uid == uid)
            give_up(detached);
    }
}
