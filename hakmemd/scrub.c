/* See scrub.h. */
#include "hakmemd/scrub.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "common/check.h"
#include "hakmemd/clock.h"
#include "hakmemd/log.h"
#include "hakmemd/memfd.h"
#include "hakmemd/prewarm.h"
#include "hakmemd/turn.h"

/* Behind so much that waits to be cleared, discarding is better: some ten milliseconds' work. */
#define BACKLOG_MAX_BYTES ((uint64_t)256 << 20)
/* The same for what lacks pages that would have to be made, which takes several times as long: it
 * must not hold up what need only be cleared. */
#define BACKLOG_MAKING_BYTES ((uint64_t)32 << 20)

/* Proofs in one go, some ten microseconds each with what follows; then the loop looks who else is
 * there. A client that ends may leave thousands behind. */
#define PROOFS_A_TURN 16

/* Times that an extent without holes is taken to have the 2 MiB pages that it had: they may have
 * been split, or have been out in the swap. Then they are measured again. */
#define UNMEASURED_MAX 32

/* ---- orphans ---- */

static void schedule(struct scrub *scrub)
{
    uint64_t soonest_ms = UINT64_MAX;
    for (unsigned i = 0; i < SCRUB_N_BACK_OFFS; i++) {
        struct list *first = list_first(&scrub->orphans[i]);
        if (first && list_entry(first, struct extent, link)->due_ms < soonest_ms)
            soonest_ms = list_entry(first, struct extent, link)->due_ms;
    }
    evtimer_del(scrub->timer);
    if (soonest_ms == UINT64_MAX)
        return;
    uint64_t now_ms = clock_now_ms();
    struct timeval wait = clock_timeval(soonest_ms > now_ms ? soonest_ms - now_ms : 0);
    evtimer_add(scrub->timer, &wait);
}

static void make_orphan(struct scrub *scrub, struct extent *extent)
{
    if (extent->state == EXTENT_ORPHAN) {
        if (extent->back_off + 1 < SCRUB_N_BACK_OFFS)
            extent->back_off++;
    } else {
        extent_change_state(extent, EXTENT_ORPHAN);
        extent->back_off = 0;
    }
    extent->due_ms = clock_now_ms() + (UINT64_C(1) << extent->back_off);
    list_push_back(&scrub->orphans[extent->back_off], &extent->link);
}

/* ---- scrubbing ---- */

static int clear_and_fill(struct extent *extent, const struct memfd_mapping *mapping)
{
    struct extent_work *work = &extent->work;
    uint16_t missing = extent_all_slabs(extent) & (uint16_t)~work->keep_slabs;
    uint16_t huge = 0;
    for (uint32_t i = 0; i < extent->n_slabs; i++) {
        if (missing & 1u << i) {
            int r = memfd_punch(extent->fd, i, 1);
            if (r < 0)
                return r;
        } else {
            memset(mapping->bytes + ((size_t)i << SUPERSLAB_SHIFT), 0, SUPERSLAB_BYTES);
        }
    }
    int r = prewarm_slabs(mapping, missing, work->backing, &huge, &work->n_collapsed);
    return r < 0 ? r : prewarm_measure(mapping, &work->huge_slabs);
}

/*
 * Nothing to be made anew, and no need to look how large its pages are. Where the client has given
 * pages back, the kernel has split the 2 MiB page: to clear what is left costs as much as to make
 * it anew from some 64 holes on, half as much with one, and leaves small pages for good, which the
 * next program pays for.
 */
static bool is_simple(struct extent *extent)
{
    struct extent_work *work = &extent->work;
    if (work->backing == BACKING_HUGETLB)
        return false;
    uint16_t holes = memfd_find_holes(extent->fd, extent->n_slabs);
    if (work->backing != BACKING_4K)
        work->keep_slabs &= (uint16_t)~holes;
    return holes == 0 && work->keep_slabs == extent_all_slabs(extent) &&
           work->n_unmeasured < UNMEASURED_MAX;
}

static int scrub(struct extent *extent)
{
    struct extent_work *work = &extent->work;
    struct memfd_mapping mapping;

    work->n_collapsed = 0;
    if (is_simple(extent)) {
        work->n_unmeasured++;
        return memfd_clear(extent->fd, extent->n_slabs);
    }
    work->n_unmeasured = 0;
    int r = memfd_map(extent->fd, extent->n_slabs, &mapping);
    if (r < 0)
        return r;
    prewarm_bind(work->binding);
    r = clear_and_fill(extent, &mapping);
    memfd_unmap(&mapping);
    return r;
}

void scrub_run(struct worker_job *job)
{
    struct extent_work *work = list_entry(job, struct extent_work, job);
    struct extent *extent = list_entry(work, struct extent, work);
    work->error = scrub(extent);
    if (work->error == 0)
        extent_open_ahead(extent);
}

static void scrub_done(struct worker_job *job)
{
    struct extent *extent = list_entry(job, struct extent, work.job);
    struct scrub *scrub = extent->work.owner;
    extent_note_ahead(extent);
    if (extent->work.error < 0) {
        static struct log_limit limit;
        uint64_t n_suppressed;
        if (log_limit_pass(&limit, &n_suppressed))
            log_warning(&(struct log_subject){.extent = extent->id, .error = -extent->work.error},
                        "cannot scrub, discarding");
        extent_discard(extent);
        return;
    }
    extent->huge_slabs = extent->work.huge_slabs;
    scrub->stats->collapse_total += extent->work.n_collapsed;
    scrub->stats->scrubbed_bytes_total += extent_bytes(extent);
    pool_put_recycled(scrub->pool, extent);
}

/* SuperSlabs to be cleared in place. Small pages are cheaper made anew, if that may give a 2 MiB
 * page. */
static uint16_t slabs_to_keep(const struct extent *extent)
{
    uint16_t worth_keeping =
        extent->work.backing == BACKING_4K ? extent_all_slabs(extent) : extent->huge_slabs;
    return worth_keeping & (uint16_t)~extent->punched_slabs;
}

/* Pages that are to be made for it. */
static uint64_t missing_bytes(const struct extent *extent)
{
    unsigned n_kept = (unsigned)__builtin_popcount(slabs_to_keep(extent));
    return (uint64_t)(extent->n_slabs - n_kept) << SUPERSLAB_SHIFT;
}

/* Is it wanted, will it be clear soon, and may the daemon have the pages that are to be made for
 * it? */
static bool is_worth_scrubbing(const struct scrub *scrub, const struct extent *extent)
{
    uint64_t backlog_max = missing_bytes(extent) > 0 ? BACKLOG_MAKING_BYTES : BACKLOG_MAX_BYTES;
    return scrub->reuse == REUSE_SAME_USER && scrub->stats->scrubbing_bytes <= backlog_max &&
           pool_wants_recycled(scrub->pool, extent_bytes(extent)) &&
           cgroup_has_room(scrub->pool->cgroup, missing_bytes(extent), CGROUP_PAYS_ITSELF);
}

static void begin_scrub(struct scrub *scrub, struct extent *extent)
{
    struct extent_work *work = &extent->work;
    extent_change_state(extent, EXTENT_SCRUBBING);
    work->keep_slabs = slabs_to_keep(extent);
    work->huge_slabs = extent->huge_slabs;
    work->binding = topology_binding(scrub->pool->topology, extent->node);
    cgroup_take(scrub->pool->cgroup, missing_bytes(extent));
    work->owner = scrub;
    extent_plan_ahead(extent);
    work->job.run = scrub_run;
    work->job.done = scrub_done;
    workers_submit(scrub->workers, &work->job, WORKER_URGENT);
}

/* Off whatever list it is on, and on to where it belongs. */
static void prove(struct scrub *scrub, struct extent *extent)
{
    list_remove(&extent->link);
    int r = memfd_prove_exclusive(extent->fd);
    if (r == MEMFD_SHARED && !scrub->stopping) {
        make_orphan(scrub, extent);
        schedule(scrub);
    } else if (r == 0 && !scrub->stopping && is_worth_scrubbing(scrub, extent)) {
        begin_scrub(scrub, extent);
    } else {
        /* Also when it could not be told: closing our descriptor gives nothing away. */
        extent_discard(extent);
    }
}

void scrub_accept(struct scrub *scrub, struct extent *extent)
{
    check_or_trap(!extent->client && !extent->care.in_flight);
    list_remove(&extent->link);
    if (scrub->stopping) {
        extent_discard(extent);
        return;
    }
    list_push_back(&scrub->incoming, &extent->link);
    if (scrub->n_this_turn < PROOFS_A_TURN && turn_has_time())
        scrub_work_off(scrub, 1);
    event_active(scrub->incoming_event, EV_TIMEOUT, 0);
}

bool scrub_work_off(struct scrub *scrub, unsigned n_max)
{
    unsigned n = 0;
    struct list *first;
    for (; n < n_max && (n == 0 || turn_has_time()) && (first = list_first(&scrub->incoming)); n++)
        prove(scrub, list_entry(first, struct extent, link));
    scrub->n_this_turn += n;
    return n > 0;
}

static void on_incoming(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct scrub *scrub = data;
    turn_begin();
    scrub->n_this_turn = 0;
    if (scrub_work_off(scrub, PROOFS_A_TURN))
        event_active(scrub->incoming_event, EV_TIMEOUT, 0);
    turn_end();
}

/* Those that are due, the longest waiting first. What is too much for one turn is due at once. */
static void look_at_orphans(struct scrub *scrub)
{
    uint64_t now_ms = clock_now_ms();
    unsigned n = 0;
    for (unsigned i = SCRUB_N_BACK_OFFS; i-- > 0;) {
        list_for_each_safe(it, &scrub->orphans[i])
        {
            struct extent *extent = list_entry(it, struct extent, link);
            if (extent->due_ms > now_ms)
                break;
            if (n++ == PROOFS_A_TURN || (n > 1 && !turn_has_time()))
                return;
            prove(scrub, extent);
        }
    }
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct scrub *scrub = data;
    turn_begin();
    look_at_orphans(scrub);
    schedule(scrub);
    turn_end();
    check_debug(scrub_is_valid(scrub));
}

int scrub_init(struct scrub *scrub, enum scrub_reuse reuse, struct event_base *base,
               struct pool *pool, struct workers *workers, struct stats *stats)
{
    *scrub = (struct scrub){.pool = pool, .workers = workers, .stats = stats, .reuse = reuse};
    for (unsigned i = 0; i < SCRUB_N_BACK_OFFS; i++)
        list_init(&scrub->orphans[i]);
    list_init(&scrub->incoming);
    scrub->timer = evtimer_new(base, on_timer, scrub);
    scrub->incoming_event = evtimer_new(base, on_incoming, scrub);
    return scrub->timer && scrub->incoming_event ? 0 : -ENOMEM;
}

void scrub_deinit(struct scrub *scrub)
{
    if (!scrub->timer)
        return;
    scrub->stopping = true;
    for (unsigned i = 0; i < SCRUB_N_BACK_OFFS; i++) {
        list_for_each_safe(it, &scrub->orphans[i])
        {
            extent_discard(list_entry(it, struct extent, link));
        }
    }
    list_for_each_safe(it, &scrub->incoming)
    {
        extent_discard(list_entry(it, struct extent, link));
    }
    event_free(scrub->timer);
    scrub->timer = NULL;
    if (scrub->incoming_event)
        event_free(scrub->incoming_event);
    scrub->incoming_event = NULL;
}

bool scrub_is_valid(const struct scrub *scrub)
{
    uint64_t n_bytes = 0;
    for (unsigned i = 0; i < SCRUB_N_BACK_OFFS; i++) {
        uint64_t due_ms = 0;
        list_for_each(it, &scrub->orphans[i])
        {
            const struct extent *extent = list_entry(it, struct extent, link);
            if (extent->state != EXTENT_ORPHAN || extent->back_off != i || extent->due_ms < due_ms)
                return false;
            due_ms = extent->due_ms;
            n_bytes += extent_bytes(extent);
        }
    }
    return n_bytes == scrub->stats->orphan_bytes;
}
