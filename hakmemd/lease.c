/* See lease.h. */
#include "hakmemd/lease.h"

#include <errno.h>
#include <event2/event.h>

#include "common/check.h"
#include "hakmemd/turn.h"

/* As many as one Return may bring. */
#define WORK_OFF_MAX 64

static void take_back(struct leases *leases, struct client *client, struct extent *extent)
{
    client_remove_extent(client, extent);
    leases->stats->returned_bytes_total += extent_bytes(extent);
    scrub_accept(leases->scrub, extent);
}

static void on_leave(struct client *client, struct extent *extent)
{
    take_back(client->on_leave_data, client, extent);
}

void lease_add_client(struct leases *leases, struct client *client)
{
    client->on_leave = on_leave;
    client->on_leave_data = leases;
    list_push_back(&leases->clients, &client->link);
    leases->n_clients++;
}

void lease_set_cpu(struct leases *leases, struct client *client, uint32_t cpu_plus_one)
{
    client->node = topology_node_of_cpu(leases->pool->topology, cpu_plus_one);
}

static uint64_t order_bytes(unsigned order)
{
    return (uint64_t)SUPERSLAB_BYTES << order;
}

/* log2 of the largest extent that is no larger than `n_slabs`. */
static unsigned order_within(uint32_t n_slabs)
{
    if (n_slabs >= EXTENT_MAX_SLABS)
        return EXTENT_MAX_ORDER;
    return 31u - (unsigned)__builtin_clz(n_slabs);
}

/* The largest order from `low` to `*order` that the client may still get. By its slots as well,
 * before anything is taken for it: the rest of them may lie in pieces, by its own doing, and what
 * is taken for nothing is lost to the stock. */
static int fit_client_limits(const struct client *client, unsigned low, unsigned *order)
{
    uint64_t limit = quota_user_limits(client->user).bytes_per_client;
    uint64_t room = limit > client->leased_bytes ? limit - client->leased_bytes : 0;
    int r = LEASE_CLIENT_LIMIT;
    for (unsigned i = *order + 1; i-- > low;) {
        if (order_bytes(i) <= room && slots_have_run(client->slots, 1u << i)) {
            if (!cgroup_has_room(client->cgroup, order_bytes(i), CGROUP_DAEMON_PAYS))
                r = LEASE_CGROUP_LIMIT;
            else {
                *order = i;
                return 0;
            }
        }
    }
    return r;
}

/* Makes room in the user's quota from what has been let go of and is still charged. False: nothing
 * is. */
static bool make_room(struct leases *leases, struct client *client, unsigned *n_worked_off)
{
    if (pool_drop_one_recycled(leases->pool, client->user))
        return true;
    /* Not without end: this is one request, and the next may have the rest. */
    return (*n_worked_off)++ < WORK_OFF_MAX && scrub_work_off(leases->scrub, 1);
}

/*
 * Charges the user for the largest order from `low` to `*order` that its quota has room for. Its
 * own recycled memory counts in that quota, and what it has just returned: they make room first.
 */
static int charge_user(struct leases *leases, struct client *client, unsigned low, unsigned *order,
                       struct quota_charge *charge)
{
    unsigned n_worked_off = 0;
    for (unsigned i = *order + 1; i-- > low;) {
        int r;
        do {
            r = quota_charge(charge, client->user, QUOTA_BYTES, order_bytes(i));
        } while (r == QUOTA_EXCEEDED && make_room(leases, client, &n_worked_off));
        if (r == 0) {
            *order = i;
            return 0;
        }
    }
    return LEASE_USER_LIMIT;
}

/* Charges the user for the descriptor of an extent that is new to it. What lies on its own shelf
 * makes room. */
static int charge_fd(struct leases *leases, struct client *client, struct quota_charge *charge)
{
    int r;
    do {
        r = quota_charge_fd(charge, client->user, leases->stats, FDS_FOR_LEASE);
    } while (r != 0 && pool_drop_one_recycled(leases->pool, client->user));
    return r == 0 ? 0 : LEASE_FDS_LIMIT;
}

/* One made on the spot, of the largest order that the client's control group has room for: its
 * pages will be charged there. */
static int make_cold(struct leases *leases, struct client *client, unsigned low, unsigned high,
                     struct extent **extent_out)
{
    while (!cgroup_has_room(client->cgroup, order_bytes(high), CGROUP_PAYS_ITSELF)) {
        if (high == low)
            return LEASE_CGROUP_LIMIT;
        high--;
    }
    if (pool_make_cold(leases->pool, client->node, high, extent_out) < 0)
        return LEASE_NO_MEMORY;
    leases->stats->cold_leases_total++;
    return 0;
}

/* An extent of order `low` to `high` that is not the user's own: fresh, else made cold if
 * `may_be_cold`. */
static int take_new(struct leases *leases, struct client *client, unsigned low, unsigned high,
                    bool may_be_cold, struct extent **extent_out)
{
    struct quota_charge charge = {0}, fd_charge = {0};
    struct extent *extent;

    if (leases->refusing)
        return LEASE_NO_MEMORY;
    int r = charge_user(leases, client, low, &high, &charge);
    if (r != 0)
        return r;
    r = charge_fd(leases, client, &fd_charge);
    extent = r == 0 ? pool_take_fresh(leases->pool, client->user, client->node, low, high) : NULL;
    if (r == 0 && !extent)
        r = may_be_cold ? make_cold(leases, client, low, high, &extent) : LEASE_NO_MEMORY;
    if (r != 0) {
        quota_discharge(&fd_charge);
        quota_discharge(&charge);
        return r;
    }
    extent->fd_charge = fd_charge;
    /* Charged for `high`; a smaller one came: charge what it is. That is less, so it cannot be
     * refused. */
    quota_discharge(&charge);
    r = quota_charge(&extent->charge, client->user, QUOTA_BYTES, extent_bytes(extent));
    check_or_trap(r == 0);
    *extent_out = extent;
    return 0;
}

static int take_one(struct leases *leases, struct client *client, unsigned low, unsigned high,
                    bool may_be_cold, struct extent **extent_out)
{
    struct extent *extent = pool_take_recycled(leases->pool, client->user, client->node, low, high);
    if (extent) {
        leases->stats->reused_bytes_total += extent_bytes(extent);
        *extent_out = extent;
        return 0;
    }
    return take_new(leases, client, low, high, may_be_cold, extent_out);
}

/*
 * Puts the extent into the client's hands. On failure it is discarded. A cold one stays cold: the
 * daemon touches a leased extent's pages only to punch IDLE SuperSlabs, never beside the client's
 * own faults and forks, which keeps the proof of that (docs/ledger.md) the only one needed.
 */
static int hand_over(struct leases *leases, struct client *client, struct extent *extent,
                     struct lease_grant *grant)
{
    int fd;
    int r = extent_open_for_lease(extent, &fd);
    if (r < 0) {
        extent_discard(extent);
        return LEASE_NO_MEMORY;
    }
    extent_change_state(extent, EXTENT_LEASED);
    r = client_add_extent(client, extent);
    if (r < 0) { /* out of slots: there are as many as bytes_per_client was good for at Hello */
        conn_close_fds(&fd, 1);
        extent_discard(extent);
        return LEASE_CLIENT_LIMIT;
    }
    leases->stats->leases_total++;
    *grant = (struct lease_grant){.extent = extent, .fd = fd};
    return 0;
}

static void count_refusal(struct leases *leases, struct client *client, int r)
{
    client->n_denied_total++;
    if (r == LEASE_USER_LIMIT || r == LEASE_CLIENT_LIMIT || r == LEASE_CGROUP_LIMIT ||
        r == LEASE_FDS_LIMIT)
        leases->stats->denied_quota_total++;
    else if (r == LEASE_DRAINING)
        leases->stats->denied_busy_total++;
    else
        leases->stats->denied_memory_total++;
}

int lease_grant(struct leases *leases, struct client *client, uint32_t n_slabs, uint32_t run_slabs,
                size_t max_grants, struct lease_grant grants[CONN_MAX_FDS], size_t *n_grants_out)
{
    unsigned low = extent_order(run_slabs);
    uint32_t n_left = n_slabs > run_slabs ? n_slabs : run_slabs;
    size_t n = 0;
    int r = leases->draining ? LEASE_DRAINING : 0;

    while (r == 0 && n < max_grants && n_left >= run_slabs) {
        struct extent *extent;
        unsigned high = order_within(n_left);
        r = fit_client_limits(client, low, &high);
        if (r == 0)
            r = take_one(leases, client, low, high, n == 0, &extent);
        bool is_recycled = r == 0 && extent->state == EXTENT_RECYCLED;
        if (r == 0)
            r = hand_over(leases, client, extent, &grants[n]);
        if (r == 0) {
            if (is_recycled)
                pool_note_reuse(leases->pool, client->node, extent_bytes(extent));
            else
                pool_note_demand(leases->pool, client->node, high, extent_bytes(extent));
            n_left -= extent->n_slabs;
            n++;
        }
    }
    if (n == 0) {
        count_refusal(leases, client, r);
        return r;
    }
    reclaim_watch(leases->reclaim);
    check_debug(client_is_valid(client) && pool_is_valid(leases->pool));
    *n_grants_out = n;
    return 0;
}

bool lease_return(struct leases *leases, struct client *client, uint64_t extent_id)
{
    struct extent *extent = extent_find(leases->pool->extents, extent_id);
    if (!extent && client_remove_lost(client, extent_id))
        return true;
    if (!extent || extent->client != client || extent->care.leaving)
        return false;
    if (!client_leave_after_work(extent))
        take_back(leases, client, extent);
    return true;
}

/* ---- the end of a client ---- */

/* As much as there is time for. False: there is more. */
static bool take_back_all(struct leases *leases, struct client *client)
{
    struct list *first;
    for (unsigned n = 0; (first = list_first(&client->leases)); n++) {
        if (n > 0 && !turn_has_time())
            return false;
        take_back(leases, client, list_entry(first, struct extent, link));
    }
    return true;
}

static void go_on_ending(struct leases *leases)
{
    struct list *first;
    while ((first = list_first(&leases->ended))) {
        struct client *client = list_entry(first, struct client, link);
        bool is_done = take_back_all(leases, client);
        if (is_done)
            client_free(client);
        if (!is_done || !turn_has_time())
            break;
    }
    if (first)
        event_active(leases->ended_event, EV_TIMEOUT, 0);
}

static void on_ended(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    go_on_ending(data);
    turn_end();
}

void lease_end(struct leases *leases, struct client *client)
{
    bool is_first = list_is_empty(&leases->ended);
    leases->stats->held_bytes -= client->held_bytes;
    leases->n_clients--;
    list_remove(&client->link);
    list_push_back(&leases->ended, &client->link);
    if (is_first)
        go_on_ending(leases);
}

/* ---- life ---- */

int leases_init(struct leases *leases, struct event_base *base, struct pool *pool,
                struct scrub *scrub, struct reclaim *reclaim, struct stats *stats)
{
    *leases = (struct leases){.pool = pool, .scrub = scrub, .reclaim = reclaim, .stats = stats};
    list_init(&leases->clients);
    list_init(&leases->ended);
    leases->ended_event = evtimer_new(base, on_ended, leases);
    return leases->ended_event ? 0 : -ENOMEM;
}

void leases_deinit(struct leases *leases)
{
    if (!leases->ended_event)
        return;
    go_on_ending(leases); /* outside of a callback: all of it */
    event_free(leases->ended_event);
    leases->ended_event = NULL;
}
