/*
 * See pool.h. Longer than other files: what goes onto a shelf, comes off it and is made for it is
 * one set of figures, which every function here keeps true.
 */
#include "hakmemd/pool.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "common/check.h"
#include "hakmemd/clock.h"
#include "hakmemd/log.h"
#include "hakmemd/prewarm.h"
#include "hakmemd/turn.h"

#define TICK_MS    1000
#define N_JOBS_MAX 2 /* one being run, one waiting: more would be decided too early */
#define RETRY_MS   5000
/* While there is this part of the target, nothing is prewarmed before leases have paused so long:
 * whoever has just leased is at work, and would share processors and memory with the worker. */
#define AMPLE_SHARE 2
#define CALM_MS     100
#define SLACK_SHIFT 2 /* a quarter of the target may be left lying above it */
#define SHED_A_TURN 16
#define LOOK_MAX    32 /* of a shelf, for an extent that is on the client's node */

static void refill(struct pool *pool);

static uint64_t order_bytes(unsigned order)
{
    return (uint64_t)SUPERSLAB_BYTES << order;
}

static uint64_t stock_bytes(const struct pool *pool)
{
    return pool->fresh_bytes + pool->warming_bytes + pool->recycled_bytes;
}

uint64_t pool_target_bytes(const struct pool *pool)
{
    if (pool->mode == POOL_CLOSED)
        return 0;
    uint64_t target = pool->settings.min_bytes;
    if (pool->mode < POOL_MINIMUM && pool->demand.peak_bytes > target)
        target = pool->demand.peak_bytes;
    return target < pool->settings.max_bytes ? target : pool->settings.max_bytes;
}

static uint64_t min_bytes(const struct pool *pool, uint64_t target)
{
    return pool->settings.min_bytes < target ? pool->settings.min_bytes : target;
}

/*
 * Extents of fresh stock wanted: the minimum, and what demand adds to it. What is recycled serves
 * that demand, too: `beside` bytes of it need not be made.
 */
static void plan(const struct pool *pool, uint64_t beside,
                 uint64_t n_wanted[TOPOLOGY_MAX_NODES][POOL_N_ORDERS])
{
    uint64_t target = pool_target_bytes(pool);
    uint64_t fresh = pool->demand.fresh_peak_bytes;
    if (fresh < target)
        target = fresh > pool->settings.min_bytes ? fresh : min_bytes(pool, target);
    uint64_t base = min_bytes(pool, target);
    uint64_t spare = target - base > beside ? target - base - beside : 0;
    demand_plan(&pool->demand, pool->topology->n_nodes, base, spare, n_wanted);
}

/* ---- ticking: only while there is something to fade or to age ---- */

static bool needs_tick(const struct pool *pool)
{
    return !demand_is_over(&pool->demand) || !list_is_empty(&pool->recycled) ||
           pool->retry_ms != 0 || pool->fairshare.n_takers > 0;
}

static void schedule_tick(struct pool *pool)
{
    struct timeval interval = clock_timeval(TICK_MS);
    if (pool->tick_event && needs_tick(pool) && !evtimer_pending(pool->tick_event, NULL))
        evtimer_add(pool->tick_event, &interval);
}

/* ---- taking out ---- */

static struct extent *take_off(struct pool *pool, struct extent *extent)
{
    unsigned order = extent_order(extent->n_slabs);
    list_remove(&extent->link);
    if (extent->state == EXTENT_RECYCLED) {
        list_remove(&extent->age_link);
        pool->n_recycled[order]--;
        pool->recycled_bytes -= extent_bytes(extent);
    } else {
        pool->n_fresh[extent->node][order]--;
        pool->fresh_bytes -= extent_bytes(extent);
    }
    return extent;
}

/* The first of a shelf that is on the node; else its first. */
static struct extent *nearest_on_shelf(const struct pool *pool, struct list *shelf, unsigned node)
{
    unsigned n_left = pool->topology->n_nodes > 1 && node != TOPOLOGY_ANY_NODE ? LOOK_MAX : 0;
    list_for_each(it, shelf)
    {
        struct extent *extent = list_entry(it, struct extent, link);
        if (n_left-- == 0)
            break;
        if (extent->node == node)
            return extent;
    }
    return list_entry(list_first(shelf), struct extent, link);
}

struct extent *pool_take_recycled(struct pool *pool, struct quota_user *user, unsigned node,
                                  unsigned low, unsigned high)
{
    for (unsigned order = high + 1; order-- > low;)
        if (!list_is_empty(&user->shelf[order]))
            return take_off(pool, nearest_on_shelf(pool, &user->shelf[order], node));
    return NULL;
}

static uint64_t fresh_bytes_on(const struct pool *pool, unsigned node)
{
    uint64_t n_bytes = 0;
    for (unsigned order = 0; order < POOL_N_ORDERS; order++)
        n_bytes += pool->n_fresh[node][order] * order_bytes(order);
    return n_bytes;
}

static unsigned fullest_node(const struct pool *pool)
{
    unsigned fullest = 0;
    for (unsigned node = 1; node < pool->topology->n_nodes; node++)
        if (fresh_bytes_on(pool, node) > fresh_bytes_on(pool, fullest))
            fullest = node;
    return fullest;
}

static struct extent *find_on_node(struct pool *pool, unsigned node, unsigned low, unsigned high)
{
    for (unsigned order = high + 1; order-- > low;) {
        struct list *first = list_first(&pool->fresh[node][order]);
        if (first)
            return list_entry(first, struct extent, link);
    }
    return NULL;
}

static struct extent *find_nearest(struct pool *pool, unsigned node, unsigned low, unsigned high)
{
    const struct topology_node *near =
        &pool->topology->nodes[node == TOPOLOGY_ANY_NODE ? fullest_node(pool) : node];
    struct extent *extent = NULL;
    for (unsigned i = 0; i < pool->topology->n_nodes && !extent; i++)
        extent = find_on_node(pool, near->by_distance[i], low, high);
    return extent;
}

/* The largest first, and never a smaller one for want of a claim to the largest: so what others
 * have a claim to is left in small extents, which anybody can use. */
struct extent *pool_take_fresh(struct pool *pool, struct quota_user *user, unsigned node,
                               unsigned low, unsigned high)
{
    struct extent *extent = find_nearest(pool, node, low, high);
    fairshare_note_asked(&pool->fairshare, user, order_bytes(high));
    schedule_tick(pool);
    if (!extent ||
        !fairshare_permits(&pool->fairshare, user, extent_bytes(extent), pool->fresh_bytes))
        return NULL;
    fairshare_note_taken(&pool->fairshare, user, extent_bytes(extent));
    if (node != TOPOLOGY_ANY_NODE && extent->node != node) {
        pool->n_remote[node]++;
        pool->stats->remote_leases_total++;
    }
    return take_off(pool, extent);
}

int pool_make_cold(struct pool *pool, unsigned node, unsigned order, struct extent **extent_out)
{
    /* Not of hugetlb: a page that is missing there would be the client's SIGBUS. */
    enum extent_backing backing =
        pool->settings.backing == BACKING_HUGETLB ? BACKING_AUTO : pool->settings.backing;
    int r = extent_new(pool->extents, 1u << order, backing, extent_out);
    if (r == 0 && node != TOPOLOGY_ANY_NODE)
        (*extent_out)->node = node; /* where its pages will be, if the client stays there */
    return r;
}

/* The client's node, or where there is most for one that did not tell. */
static unsigned note_lease(struct pool *pool, unsigned node)
{
    if (node == TOPOLOGY_ANY_NODE)
        return fullest_node(pool);
    pool->n_leases[node]++;
    return node;
}

static void schedule_refill(struct pool *pool, unsigned node, unsigned order)
{
    const struct timeval calm = {.tv_usec = CALM_MS * 1000};
    bool is_ample = pool->n_fresh[node][order] > 0 &&
                    stock_bytes(pool) >= pool_target_bytes(pool) / AMPLE_SHARE;
    /* Else from the loop, when the answer is on its way: making a file takes longer than leasing
     * one. Begun late, at the next tick, if there is no memory for the timer. */
    if (!is_ample)
        event_active(pool->refill_event, EV_TIMEOUT, 0);
    else
        event_add(pool->refill_event, &calm);
}

void pool_note_demand(struct pool *pool, unsigned node, unsigned order, uint64_t n_bytes)
{
    node = note_lease(pool, node);
    demand_note(&pool->demand, node, order, n_bytes);
    schedule_refill(pool, node, order);
    schedule_tick(pool);
}

void pool_note_reuse(struct pool *pool, unsigned node, uint64_t n_bytes)
{
    note_lease(pool, node);
    demand_note_recycled(&pool->demand, n_bytes);
    schedule_tick(pool);
}

/* ---- filling up ---- */

static void put_fresh(struct pool *pool, struct extent *extent)
{
    unsigned order = extent_order(extent->n_slabs);
    extent_change_state(extent, EXTENT_STOCK);
    extent->paid_slabs = extent_all_slabs(extent);
    list_push_front(&pool->fresh[extent->node][order], &extent->link);
    pool->n_fresh[extent->node][order]++;
    pool->fresh_bytes += extent_bytes(extent);
}

static void note_achieved(struct pool *pool, const struct extent *extent)
{
    if (extent->huge_slabs == 0)
        pool->achieved = "4k";
    else if (extent->work.backing == BACKING_HUGETLB)
        pool->achieved = "hugetlb";
    else
        pool->achieved = extent->work.n_collapsed > 0 ? "collapse" : "thp";
    pool->stats->collapse_total += extent->work.n_collapsed;
    pool->stats->misplaced_bytes_total += (uint64_t)extent->work.n_misplaced << SUPERSLAB_SHIFT;
}

static void note_failure(struct pool *pool, const struct extent *extent, int error)
{
    static struct log_limit limit;
    uint64_t n_suppressed;
    pool->stats->prewarm_errors_total++;
    if (extent && extent->work.backing == BACKING_HUGETLB)
        pool->hugetlb_failed = true;
    else
        pool->retry_ms = clock_now_ms() + RETRY_MS;
    if (log_limit_pass(&limit, &n_suppressed))
        log_warning(&(struct log_subject){.error = -error}, "cannot prewarm%s",
                    pool->hugetlb_failed ? " hugetlb pages (vm.nr_hugepages?), using 2 MiB shmem"
                                         : ", will try again");
}

/* Begun before pressure came, and more than is to be held now. */
static bool is_surplus(const struct pool *pool, const struct extent *extent)
{
    uint64_t n_wanted[TOPOLOGY_MAX_NODES][POOL_N_ORDERS];
    unsigned order = extent_order(extent->n_slabs);
    if (pool->mode < POOL_NO_SPARE)
        return false;
    plan(pool, 0, n_wanted);
    return pool->n_fresh[extent->node][order] >= n_wanted[extent->node][order];
}

static void prewarm_done(struct worker_job *job)
{
    struct extent *extent = list_entry(job, struct extent, work.job);
    struct pool *pool = extent->work.owner;
    extent_note_ahead(extent);
    pool->n_jobs--;
    pool->n_warming[extent->node][extent_order(extent->n_slabs)]--;
    pool->warming_bytes -= extent_bytes(extent);
    if (job->cancelled || is_surplus(pool, extent)) {
        extent_discard(extent);
        return;
    }
    if (extent->work.error < 0) {
        note_failure(pool, extent, extent->work.error);
        extent_discard(extent);
    } else {
        extent->huge_slabs = extent->work.huge_slabs;
        note_achieved(pool, extent);
        put_fresh(pool, extent);
    }
    refill(pool);
    schedule_tick(pool);
}

/* What is furthest below what is wanted of it. False: nothing is, or there is no room for it. */
static bool find_neediest(const struct pool *pool, unsigned *node_out, unsigned *order_out)
{
    uint64_t largest = 0, n_wanted[TOPOLOGY_MAX_NODES][POOL_N_ORDERS];
    plan(pool, pool->recycled_bytes, n_wanted);
    for (unsigned node = 0; node < pool->topology->n_nodes; node++) {
        for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
            uint64_t n_have = pool->n_fresh[node][order] + pool->n_warming[node][order];
            if (n_wanted[node][order] <= n_have ||
                stock_bytes(pool) + order_bytes(order) > pool->settings.max_bytes)
                continue;
            uint64_t missing = (n_wanted[node][order] - n_have) * order_bytes(order);
            if (missing > largest) {
                largest = missing;
                *node_out = node;
                *order_out = order;
            }
        }
    }
    return largest > 0;
}

static bool begin_prewarm(struct pool *pool, unsigned node, unsigned order)
{
    enum extent_backing backing = pool->settings.backing;
    if (backing == BACKING_HUGETLB && pool->hugetlb_failed)
        backing = BACKING_AUTO;
    struct extent *extent;
    if (!stats_fds_available(pool->stats, FDS_FOR_STOCK, 1) ||
        !cgroup_has_room(pool->cgroup, order_bytes(order), CGROUP_PAYS_ITSELF)) {
        pool->retry_ms = clock_now_ms() + RETRY_MS;
        schedule_tick(pool);
        return false;
    }
    int r = extent_new(pool->extents, 1u << order, backing, &extent);
    if (r < 0) {
        note_failure(pool, NULL, r);
        return false;
    }
    cgroup_take(pool->cgroup, order_bytes(order));
    pool->n_jobs++;
    pool->n_warming[node][order]++;
    pool->warming_bytes += extent_bytes(extent);
    extent->node = node;
    extent->work.owner = pool;
    extent->work.binding = topology_binding(pool->topology, node);
    extent_plan_ahead(extent);
    extent->work.job.run = prewarm_run;
    extent->work.job.done = prewarm_done;
    workers_submit(pool->workers, &extent->work.job, WORKER_BACKGROUND);
    return true;
}

static void refill(struct pool *pool)
{
    if (pool->mode != POOL_OPEN || clock_now_ms() < pool->retry_ms)
        return;
    pool->retry_ms = 0;
    unsigned node, order;
    while (pool->n_jobs < N_JOBS_MAX && find_neediest(pool, &node, &order) &&
           begin_prewarm(pool, node, order))
        ;
}

/* ---- recycling ---- */

bool pool_wants_recycled(const struct pool *pool, uint64_t n_bytes)
{
    /* What is being scrubbed will be there, too. No more than demand of late can use: clearing
     * costs, discarding does not. */
    uint64_t coming = pool->recycled_bytes + pool->stats->scrubbing_bytes + n_bytes;
    return pool->mode < POOL_NO_SPARE && pool->settings.recycled_ms > 0 &&
           coming <= pool_target_bytes(pool) &&
           stats_fds_available(pool->stats, FDS_FOR_STOCK, 0) &&
           pool->fresh_bytes + pool->warming_bytes + coming <= pool->settings.max_bytes;
}

void pool_put_recycled(struct pool *pool, struct extent *extent)
{
    struct quota_user *user = extent->charge.user;
    check_or_trap(user && extent->state == EXTENT_SCRUBBING);
    if (!pool_wants_recycled(pool, 0)) {
        extent_discard(extent);
        return;
    }
    unsigned order = extent_order(extent->n_slabs);
    extent_change_state(extent, EXTENT_RECYCLED);
    extent->paid_slabs = extent_all_slabs(extent);
    extent->due_ms = clock_now_ms() + pool->settings.recycled_ms;
    list_push_front(&user->shelf[order], &extent->link);
    list_push_back(&pool->recycled, &extent->age_link);
    pool->n_recycled[order]++;
    pool->recycled_bytes += extent_bytes(extent);
    schedule_tick(pool);
}

bool pool_drop_one_recycled(struct pool *pool, struct quota_user *user)
{
    for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
        if (list_is_empty(&user->shelf[order]))
            continue;
        extent_discard(take_off(pool, list_entry(user->shelf[order].prev, struct extent, link)));
        return true;
    }
    return false;
}

/* ---- giving back: in slices, since it can be all of a large stock ---- */

static bool drop_recycled(struct pool *pool)
{
    struct list *first = list_first(&pool->recycled);
    struct extent *oldest = first ? list_entry(first, struct extent, age_link) : NULL;
    if (!oldest || oldest->due_ms > pool->shed_recycled_ms)
        return false;
    extent_discard(take_off(pool, oldest));
    return true;
}

/* The coldest of one node and order of which there is more than wanted. */
static bool drop_fresh(struct pool *pool, uint64_t n_wanted[TOPOLOGY_MAX_NODES][POOL_N_ORDERS])
{
    for (unsigned node = 0; pool->sheds_fresh && node < pool->topology->n_nodes; node++) {
        for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
            if (pool->n_fresh[node][order] <= n_wanted[node][order])
                continue;
            struct list *coldest = pool->fresh[node][order].prev;
            extent_discard(take_off(pool, list_entry(coldest, struct extent, link)));
            return true;
        }
    }
    return false;
}

/*
 * One slice of what is to go; the rest comes by shed_event. Fresh stock goes down to what is wanted
 * at that moment, by the same plan as find_neediest()'s: what is dropped is not made again.
 */
static void shed(struct pool *pool)
{
    uint64_t n_wanted[TOPOLOGY_MAX_NODES][POOL_N_ORDERS];
    unsigned n = 0;
    plan(pool, 0, n_wanted);
    while (drop_recycled(pool) || drop_fresh(pool, n_wanted)) {
        if (++n == SHED_A_TURN || !turn_has_time()) {
            if (pool->shed_event)
                event_active(pool->shed_event, EV_TIMEOUT, 0);
            return;
        }
    }
    pool->shed_recycled_ms = 0;
    pool->sheds_fresh = false;
}

/* Begins to drop what has been on a shelf until `recycled_ms`, and if told to, fresh stock. */
static void begin_shedding(struct pool *pool, uint64_t recycled_ms, bool fresh)
{
    if (recycled_ms > pool->shed_recycled_ms)
        pool->shed_recycled_ms = recycled_ms;
    pool->sheds_fresh |= fresh;
    if (pool->shed_event && !event_pending(pool->shed_event, EV_TIMEOUT, NULL))
        shed(pool);
}

/* All that is on a shelf now, and nothing that comes later. */
static uint64_t recycled_by_now(const struct pool *pool)
{
    return clock_now_ms() + pool->settings.recycled_ms;
}

static uint64_t surplus_bytes(const struct pool *pool)
{
    uint64_t n_bytes = 0, n_wanted[TOPOLOGY_MAX_NODES][POOL_N_ORDERS];
    plan(pool, 0, n_wanted);
    for (unsigned node = 0; node < pool->topology->n_nodes; node++)
        for (unsigned order = 0; order < POOL_N_ORDERS; order++)
            if (pool->n_fresh[node][order] > n_wanted[node][order])
                n_bytes +=
                    (pool->n_fresh[node][order] - n_wanted[node][order]) * order_bytes(order);
    return n_bytes;
}

uint64_t pool_trim(struct pool *pool)
{
    demand_forget(&pool->demand);
    uint64_t n_bytes = pool->recycled_bytes + surplus_bytes(pool);
    begin_shedding(pool, recycled_by_now(pool), true);
    return n_bytes;
}

static void on_shed(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    shed(data);
    turn_end();
}

static void shrink(struct pool *pool)
{
    uint64_t target = pool_target_bytes(pool);
    /* While there is demand; an idle host goes down to the minimum. */
    uint64_t slack = demand_is_over(&pool->demand)
                         ? SUPERSLAB_BYTES - 1
                         : (target >> SLACK_SHIFT) + order_bytes(EXTENT_MAX_ORDER);
    if (pool->mode >= POOL_MINIMUM) /* what is dropped now is not to be made again unasked */
        demand_forget(&pool->demand);
    begin_shedding(pool, pool->mode >= POOL_NO_SPARE ? recycled_by_now(pool) : clock_now_ms(),
                   pool->mode >= POOL_NO_SPARE || pool->fresh_bytes > target + slack);
}

static void on_refill(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    refill(data);
    turn_end();
}

void pool_tick(struct pool *pool)
{
    demand_fade(&pool->demand);
    fairshare_fade(&pool->fairshare);
    shrink(pool);
    refill(pool);
    schedule_tick(pool);
    check_debug(pool_is_valid(pool));
}

static void on_tick(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    pool_tick(data);
    turn_end();
}

uint64_t pool_ask(struct pool *pool, uint64_t n_bytes)
{
    if (n_bytes > pool->settings.max_bytes)
        n_bytes = pool->settings.max_bytes;
    demand_ask(&pool->demand, n_bytes);
    refill(pool);
    schedule_tick(pool);
    return pool_target_bytes(pool);
}

void pool_set_mode(struct pool *pool, enum pool_mode mode)
{
    if (pool->mode == mode)
        return;
    pool->mode = mode;
    shrink(pool);
    refill(pool);
    schedule_tick(pool);
}

void pool_apply(struct pool *pool, const struct pool_settings *settings)
{
    pool->settings = *settings;
    pool->hugetlb_failed = false;
    pool->retry_ms = 0;
    shrink(pool);
    refill(pool);
    schedule_tick(pool);
}

int pool_init(struct pool *pool, const struct pool_settings *settings, struct event_base *base,
              struct extents *extents, struct workers *workers, struct cgroup *cgroup,
              const struct topology *topology, struct stats *stats)
{
    *pool = (struct pool){.settings = *settings,
                          .topology = topology,
                          .extents = extents,
                          .workers = workers,
                          .cgroup = cgroup,
                          .stats = stats,
                          .achieved = "none"};
    for (unsigned node = 0; node < TOPOLOGY_MAX_NODES; node++)
        for (unsigned order = 0; order < POOL_N_ORDERS; order++)
            list_init(&pool->fresh[node][order]);
    list_init(&pool->recycled);
    fairshare_init(&pool->fairshare);
    pool->tick_event = evtimer_new(base, on_tick, pool);
    pool->refill_event = evtimer_new(base, on_refill, pool);
    pool->shed_event = evtimer_new(base, on_shed, pool);
    if (!pool->tick_event || !pool->refill_event || !pool->shed_event)
        return -ENOMEM;
    refill(pool);
    return 0;
}

void pool_deinit(struct pool *pool)
{
    if (!pool->extents) /* never initialised */
        return;
    pool->mode = POOL_CLOSED;
    begin_shedding(pool, UINT64_MAX, true);
    while (pool->sheds_fresh)
        shed(pool);
    fairshare_deinit(&pool->fairshare);
    if (pool->tick_event)
        event_free(pool->tick_event);
    if (pool->refill_event)
        event_free(pool->refill_event);
    if (pool->shed_event)
        event_free(pool->shed_event);
    pool->shed_event = NULL;
    pool->tick_event = NULL;
    pool->refill_event = NULL;
}

uint64_t pool_n_fresh(const struct pool *pool, unsigned order)
{
    uint64_t n = 0;
    for (unsigned node = 0; node < pool->topology->n_nodes; node++)
        n += pool->n_fresh[node][order];
    return n;
}

void pool_describe_node(const struct pool *pool, unsigned node, struct pool_node *node_out)
{
    *node_out = (struct pool_node){.id = pool->topology->nodes[node].id,
                                   .fresh_bytes = fresh_bytes_on(pool, node),
                                   .n_leases = pool->n_leases[node],
                                   .n_remote = pool->n_remote[node]};
}

uint64_t pool_huge_bytes(const struct pool *pool, unsigned order)
{
    uint64_t n_bytes = 0;
    for (unsigned node = 0; node < pool->topology->n_nodes; node++) {
        list_for_each(it, &pool->fresh[node][order])
        {
            n_bytes += extent_huge_bytes(list_entry(it, struct extent, link));
        }
    }
    list_for_each(it, &pool->recycled)
    {
        const struct extent *extent = list_entry(it, struct extent, age_link);
        if (extent_order(extent->n_slabs) == order)
            n_bytes += extent_huge_bytes(extent);
    }
    return n_bytes;
}

const char *pool_backing_name(enum extent_backing backing)
{
    static const char *const names[] = {"auto", "thp", "4k", "hugetlb"};
    return names[backing];
}

/* False: an extent is where it does not belong, or they are not as many as counted. */
static bool fresh_list_is_valid(const struct pool *pool, unsigned node, unsigned order)
{
    uint64_t n = 0;
    list_for_each(it, &pool->fresh[node][order])
    {
        const struct extent *extent = list_entry(it, struct extent, link);
        if (extent->state != EXTENT_STOCK || extent_order(extent->n_slabs) != order ||
            extent->node != node)
            return false;
        n++;
    }
    return n == pool->n_fresh[node][order];
}

bool pool_is_valid(const struct pool *pool)
{
    uint64_t fresh_bytes = 0, recycled_bytes = 0;
    for (unsigned node = 0; node < pool->topology->n_nodes; node++) {
        for (unsigned order = 0; order < POOL_N_ORDERS; order++)
            if (!fresh_list_is_valid(pool, node, order))
                return false;
        fresh_bytes += fresh_bytes_on(pool, node);
    }
    list_for_each(it, &pool->recycled)
    {
        const struct extent *extent = list_entry(it, struct extent, age_link);
        if (extent->state != EXTENT_RECYCLED || !extent->charge.user)
            return false;
        recycled_bytes += extent_bytes(extent);
    }
    return fresh_bytes == pool->fresh_bytes && recycled_bytes == pool->recycled_bytes &&
           fresh_bytes + recycled_bytes == pool->stats->stock_bytes;
}
