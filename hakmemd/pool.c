/* See pool.h. */
#include "hakmemd/pool.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include "common/check.h"
#include "hakmemd/clock.h"
#include "hakmemd/log.h"
#include "hakmemd/prewarm.h"
#include "hakmemd/turn.h"

#define TICK_MS          1000
#define FADE_SHIFT       5 /* a 32nd a tick */
#define N_JOBS_MAX       2 /* one being run, one waiting: more would be decided too early */
#define RETRY_MS         5000
#define FADED_BYTES      SUPERSLAB_BYTES
#define FADED_RATE_BYTES 4096
#define SLACK_SHIFT      2 /* a quarter of the target may be left lying above it */

/* Shares of pool.min by order, in eighths: a first lease is small, a growing client's are large. */
static const unsigned min_eighths[POOL_N_ORDERS] = {1, 1, 2, 2, 2};

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
    if (pool->mode < POOL_MINIMUM && pool->peak_bytes > target)
        target = pool->peak_bytes;
    return target < pool->settings.max_bytes ? target : pool->settings.max_bytes;
}

/*
 * Extents of fresh stock wanted of each order: its share of the minimum, and of what demand adds to
 * that. What is recycled serves that demand, too: `beside` bytes of it need not be made. What does
 * not make a whole extent of one order goes to the next smaller, so that the sum is the target,
 * rounded up to a SuperSlab.
 */
static void plan(const struct pool *pool, uint64_t beside, uint64_t n_wanted[POOL_N_ORDERS])
{
    uint64_t target = pool_target_bytes(pool);
    uint64_t base = pool->settings.min_bytes < target ? pool->settings.min_bytes : target;
    uint64_t spare = target - base > beside ? target - base - beside : 0;
    uint64_t left = base + spare, over = 0, demand = 0;
    for (unsigned i = 0; i < POOL_N_ORDERS; i++)
        demand += pool->demand_bytes[i];
    for (unsigned order = POOL_N_ORDERS; order-- > 0;) {
        double share = demand > 0 ? (double)pool->demand_bytes[order] / (double)demand
                                  : min_eighths[order] / 8.0;
        uint64_t bytes = base / 8 * min_eighths[order] + (uint64_t)((double)spare * share) + over;
        if (order == 0 || bytes > left) /* the smallest gets what rounding left */
            bytes = left;
        n_wanted[order] = bytes / order_bytes(order);
        if (order == 0 && bytes % order_bytes(0) != 0)
            n_wanted[0]++;
        over = bytes - n_wanted[order] * order_bytes(order);
        left -= n_wanted[order] * order_bytes(order) < left ? n_wanted[order] * order_bytes(order)
                                                            : left;
    }
}

/* ---- ticking: only while there is something to fade or to age ---- */

static bool needs_tick(const struct pool *pool)
{
    return pool->peak_bytes >= FADED_BYTES || pool->rate_bytes > 0 || pool->second_bytes > 0 ||
           !list_is_empty(&pool->recycled) || pool->retry_ms != 0;
}

static void schedule_tick(struct pool *pool)
{
    struct timeval interval = clock_timeval(TICK_MS);
    if (pool->tick_event && needs_tick(pool) && !evtimer_pending(pool->tick_event, NULL))
        evtimer_add(pool->tick_event, &interval);
}

static void forget_demand(struct pool *pool)
{
    pool->peak_bytes = 0;
    for (unsigned i = 0; i < POOL_N_ORDERS; i++)
        pool->demand_bytes[i] = 0;
}

static void fade_demand(struct pool *pool)
{
    pool->rate_bytes = (7 * pool->rate_bytes + pool->second_bytes) / 8;
    if (pool->rate_bytes < FADED_RATE_BYTES)
        pool->rate_bytes = 0;
    pool->second_bytes = 0;
    pool->peak_bytes -= pool->peak_bytes >> FADE_SHIFT;
    for (unsigned i = 0; i < POOL_N_ORDERS; i++)
        pool->demand_bytes[i] -= pool->demand_bytes[i] >> FADE_SHIFT;
    if (pool->peak_bytes < FADED_BYTES)
        forget_demand(pool);
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
        pool->n_fresh[order]--;
        pool->fresh_bytes -= extent_bytes(extent);
    }
    return extent;
}

static struct extent *take_first(struct pool *pool, struct list *lists, unsigned low, unsigned high)
{
    for (unsigned order = high + 1; order-- > low;) {
        struct list *first = list_first(&lists[order]);
        if (first)
            return take_off(pool, list_entry(first, struct extent, link));
    }
    return NULL;
}

struct extent *pool_take_recycled(struct pool *pool, struct quota_user *user, unsigned low,
                                  unsigned high)
{
    return take_first(pool, user->shelf, low, high);
}

struct extent *pool_take_fresh(struct pool *pool, unsigned low, unsigned high)
{
    return take_first(pool, pool->fresh, low, high);
}

int pool_make_cold(struct pool *pool, unsigned order, struct extent **extent_out)
{
    /* Not of hugetlb: a page that is missing there would be the client's SIGBUS. */
    enum extent_backing backing =
        pool->settings.backing == BACKING_HUGETLB ? BACKING_AUTO : pool->settings.backing;
    return extent_new(pool->extents, 1u << order, backing, extent_out);
}

void pool_note_demand(struct pool *pool, unsigned order, uint64_t n_bytes)
{
    pool->second_bytes += n_bytes;
    pool->demand_bytes[order] += n_bytes;
    if (pool->second_bytes > pool->peak_bytes)
        pool->peak_bytes = pool->second_bytes;
    /* From the loop, when the answer is on its way: making a file takes longer than leasing one. */
    event_active(pool->refill_event, EV_TIMEOUT, 0);
    schedule_tick(pool);
}

/* ---- filling up ---- */

static void put_fresh(struct pool *pool, struct extent *extent)
{
    unsigned order = extent_order(extent->n_slabs);
    extent_change_state(extent, EXTENT_STOCK);
    list_push_front(&pool->fresh[order], &extent->link);
    pool->n_fresh[order]++;
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

static void prewarm_done(struct worker_job *job)
{
    struct extent *extent = list_entry(job, struct extent, work.job);
    struct pool *pool = extent->work.owner;
    pool->n_jobs--;
    pool->n_warming[extent_order(extent->n_slabs)]--;
    pool->warming_bytes -= extent_bytes(extent);
    if (job->cancelled || pool->mode == POOL_CLOSED) {
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

/* The order that is furthest below what is wanted of it, or POOL_N_ORDERS: none is, or there is no
 * room. */
static unsigned neediest_order(const struct pool *pool)
{
    unsigned neediest = POOL_N_ORDERS;
    uint64_t largest = 0, n_wanted[POOL_N_ORDERS];
    plan(pool, pool->recycled_bytes, n_wanted);
    for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
        uint64_t n_have = pool->n_fresh[order] + pool->n_warming[order];
        if (n_wanted[order] <= n_have ||
            stock_bytes(pool) + order_bytes(order) > pool->settings.max_bytes)
            continue;
        if ((n_wanted[order] - n_have) * order_bytes(order) > largest) {
            largest = (n_wanted[order] - n_have) * order_bytes(order);
            neediest = order;
        }
    }
    return neediest;
}

static bool begin_prewarm(struct pool *pool, unsigned order)
{
    enum extent_backing backing = pool->settings.backing;
    if (backing == BACKING_HUGETLB && pool->hugetlb_failed)
        backing = BACKING_AUTO;
    struct extent *extent;
    if (!stats_fds_available(pool->stats, FDS_FOR_STOCK, 1) ||
        !cgroup_has_room(pool->cgroup, order_bytes(order))) {
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
    pool->n_warming[order]++;
    pool->warming_bytes += extent_bytes(extent);
    extent->work.owner = pool;
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
    while (pool->n_jobs < N_JOBS_MAX) {
        unsigned order = neediest_order(pool);
        if (order == POOL_N_ORDERS || !begin_prewarm(pool, order))
            return;
    }
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

static uint64_t drop_recycled(struct pool *pool, uint64_t due_ms)
{
    uint64_t n_bytes = 0;
    list_for_each_safe(it, &pool->recycled)
    {
        struct extent *extent = list_entry(it, struct extent, age_link);
        if (extent->due_ms > due_ms)
            break;
        n_bytes += extent_bytes(extent);
        extent_discard(take_off(pool, extent));
    }
    return n_bytes;
}

/* ---- giving back ---- */

/* Per order, down to what is wanted of it by the same plan as neediest_order()'s: what is dropped
 * is not made again. */
static uint64_t drop_fresh(struct pool *pool)
{
    uint64_t n_bytes = 0, n_wanted[POOL_N_ORDERS];
    plan(pool, 0, n_wanted);
    for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
        while (pool->n_fresh[order] > n_wanted[order]) {
            struct list *coldest = pool->fresh[order].prev;
            n_bytes += order_bytes(order);
            extent_discard(take_off(pool, list_entry(coldest, struct extent, link)));
        }
    }
    return n_bytes;
}

uint64_t pool_trim(struct pool *pool)
{
    forget_demand(pool);
    return drop_recycled(pool, UINT64_MAX) + drop_fresh(pool);
}

static void shrink(struct pool *pool)
{
    uint64_t target = pool_target_bytes(pool);
    uint64_t slack = (target >> SLACK_SHIFT) + order_bytes(EXTENT_MAX_ORDER);
    if (pool->mode >= POOL_NO_SPARE)
        drop_recycled(pool, UINT64_MAX);
    if (pool->mode >= POOL_NO_SPARE || pool->fresh_bytes > target + slack)
        drop_fresh(pool);
}

static void on_refill(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    refill(data);
    turn_end();
}

static void on_tick(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct pool *pool = data;
    turn_begin();
    fade_demand(pool);
    drop_recycled(pool, clock_now_ms());
    shrink(pool);
    refill(pool);
    schedule_tick(pool);
    turn_end();
    check_debug(pool_is_valid(pool));
}

uint64_t pool_ask(struct pool *pool, uint64_t n_bytes)
{
    if (n_bytes > pool->settings.max_bytes)
        n_bytes = pool->settings.max_bytes;
    if (n_bytes > pool->peak_bytes)
        pool->peak_bytes = n_bytes;
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
              struct stats *stats)
{
    *pool = (struct pool){.settings = *settings,
                          .extents = extents,
                          .workers = workers,
                          .cgroup = cgroup,
                          .stats = stats,
                          .achieved = "none"};
    for (unsigned order = 0; order < POOL_N_ORDERS; order++)
        list_init(&pool->fresh[order]);
    list_init(&pool->recycled);
    pool->tick_event = evtimer_new(base, on_tick, pool);
    pool->refill_event = evtimer_new(base, on_refill, pool);
    if (!pool->tick_event || !pool->refill_event)
        return -ENOMEM;
    refill(pool);
    return 0;
}

void pool_deinit(struct pool *pool)
{
    if (!pool->extents) /* never initialised */
        return;
    pool->mode = POOL_CLOSED;
    pool_trim(pool);
    if (pool->tick_event)
        event_free(pool->tick_event);
    if (pool->refill_event)
        event_free(pool->refill_event);
    pool->tick_event = NULL;
    pool->refill_event = NULL;
}

uint64_t pool_huge_bytes(const struct pool *pool, unsigned order)
{
    uint64_t n_bytes = 0;
    list_for_each(it, &pool->fresh[order])
    {
        n_bytes += extent_huge_bytes(list_entry(it, struct extent, link));
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

bool pool_is_valid(const struct pool *pool)
{
    uint64_t fresh_bytes = 0, recycled_bytes = 0;
    for (unsigned order = 0; order < POOL_N_ORDERS; order++) {
        uint64_t n = 0;
        list_for_each(it, &pool->fresh[order])
        {
            const struct extent *extent = list_entry(it, struct extent, link);
            if (extent->state != EXTENT_STOCK || extent_order(extent->n_slabs) != order)
                return false;
            n++;
        }
        if (n != pool->n_fresh[order])
            return false;
        fresh_bytes += n * order_bytes(order);
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
