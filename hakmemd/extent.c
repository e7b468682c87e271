/* See extent.h. */
#include "hakmemd/extent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmemd/memfd.h"

static_assert(EXTENT_MAX_SLABS <= 16, "a 16-bit mask holds a bit per SuperSlab");

static struct list *bucket(struct extents *extents, uint64_t id)
{
    return &extents->buckets[id % EXTENTS_N_BUCKETS];
}

void extents_init(struct extents *extents, struct stats *stats, struct workers *workers,
                  struct punchers *punchers, struct store *store, const struct topology *topology)
{
    extents->punchers = punchers;
    extents->topology = topology;
    extents->stats = stats;
    extents->workers = workers;
    extents->store = store;
    extents->last_id = store_last_extent_id(store);
    list_init(&extents->ahead);
    for (size_t i = 0; i < EXTENTS_N_BUCKETS; i++)
        list_init(&extents->buckets[i]);
}

static void enter(struct extents *extents, struct extent *extent, uint64_t id, uint32_t n_slabs,
                  enum extent_backing backing)
{
    extent->extents = extents;
    extent->id = id;
    extent->n_slabs = n_slabs;
    extent->work.backing = backing;
    extent->work.binding = TOPOLOGY_UNBOUND;
    list_init(&extent->link);
    list_init(&extent->age_link);
    list_init(&extent->ahead_link);
    extent->client_fd = -1;
    list_push_back(bucket(extents, id), &extent->hash_link);
    extents->stats->n_extents++;
}

int extent_new(struct extents *extents, uint32_t n_slabs, enum extent_backing backing,
               struct extent **extent_out)
{
    if (!stats_fds_available(extents->stats, FDS_FOR_LEASE, 1))
        return -EMFILE;
    struct extent *extent = calloc(1, sizeof(*extent));
    if (!extent)
        return -ENOMEM;
    int r = memfd_create_extent((size_t)n_slabs << SUPERSLAB_SHIFT, backing == BACKING_HUGETLB,
                                &extent->fd);
    if (r < 0) {
        free(extent);
        return r;
    }
    enter(extents, extent, ++extents->last_id, n_slabs, backing);
    if (store_is_on(extents->store))
        extent->inode = memfd_inode(extent->fd);
    *extent_out = extent;
    return 0;
}

int extent_adopt(struct extents *extents, const struct store_record *record, uint32_t index, int fd,
                 struct extent **extent_out)
{
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    struct stat status;
    if (!extent_slabs_is_valid(record->n_slots) || record->backing > BACKING_HUGETLB ||
        record->id == 0 || record->id > extents->last_id || extent_find(extents, record->id) ||
        fstat(fd, &status) < 0 ||
        (uint64_t)status.st_size != (uint64_t)record->n_slots << SUPERSLAB_SHIFT ||
        (fcntl(fd, F_GET_SEALS) & seals) != seals || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
        return -EINVAL;
    struct extent *extent = calloc(1, sizeof(*extent));
    if (!extent)
        return -ENOMEM;
    enter(extents, extent, record->id, record->n_slots, (enum extent_backing)record->backing);
    extent->fd = fd;
    unsigned node = topology_node_of_id(extents->topology, (int)record->node_plus_one - 1);
    extent->node = node == TOPOLOGY_ANY_NODE ? 0 : node;
    extent->huge_slabs = (uint16_t)record->huge_slabs & extent_all_slabs(extent);
    extent->paid_slabs = extent_all_slabs(extent); /* not known: the kernel charges somebody */
    store_keep(extents->store, index, &extent->stored);
    *extent_out = extent;
    return 0;
}

struct store_record extent_record(const struct extent *extent, enum store_kind kind, uid_t uid)
{
    const struct topology *topology = extent->extents->topology;
    return (struct store_record){.kind = kind,
                                 .id = extent->id,
                                 .inode = extent->inode,
                                 .uid = uid,
                                 .n_slots = extent->n_slabs,
                                 .huge_slabs = extent->huge_slabs,
                                 .backing = extent->work.backing,
                                 .node_plus_one = (uint32_t)topology->nodes[extent->node].id + 1};
}

struct extent *extent_find(struct extents *extents, uint64_t id)
{
    list_for_each(it, bucket(extents, id))
    {
        struct extent *extent = list_entry(it, struct extent, hash_link);
        if (extent->id == id)
            return extent;
    }
    return NULL;
}

bool extent_transition_is_allowed(enum extent_state from, enum extent_state to)
{
    switch (from) {
    case EXTENT_NEW:
        return to == EXTENT_STOCK || to == EXTENT_LEASED || to == EXTENT_DISCARDED;
    case EXTENT_STOCK:
        return to == EXTENT_LEASED || to == EXTENT_DISCARDED;
    case EXTENT_LEASED:
    case EXTENT_ORPHAN:
        return to == EXTENT_ORPHAN || to == EXTENT_SCRUBBING || to == EXTENT_DISCARDED;
    case EXTENT_SCRUBBING:
        return to == EXTENT_RECYCLED || to == EXTENT_DISCARDED;
    case EXTENT_RECYCLED:
        return to == EXTENT_LEASED || to == EXTENT_DISCARDED;
    default:
        return false;
    }
}

static uint64_t *bytes_of(struct stats *stats, enum extent_state state)
{
    switch (state) {
    case EXTENT_STOCK:
    case EXTENT_RECYCLED:
        return &stats->stock_bytes;
    case EXTENT_LEASED:
        return &stats->leased_bytes;
    case EXTENT_ORPHAN:
        return &stats->orphan_bytes;
    case EXTENT_SCRUBBING:
        return &stats->scrubbing_bytes;
    default:
        return NULL;
    }
}

static bool is_in_stock(enum extent_state state)
{
    return state == EXTENT_STOCK || state == EXTENT_RECYCLED;
}

void extent_change_state(struct extent *extent, enum extent_state to)
{
    struct stats *stats = extent->extents->stats;
    enum extent_state from = extent->state;
    uint64_t n_bytes = extent_bytes(extent);

    check_or_trap(extent_transition_is_allowed(from, to));
    check_debug(extent->client_fd < 0 || is_in_stock(to)); /* the proof would see it */
    if (from == EXTENT_NEW && to != EXTENT_DISCARDED)
        stats->created_bytes_total += n_bytes;
    if (from != EXTENT_NEW && to == EXTENT_DISCARDED)
        stats->discarded_bytes_total += n_bytes;
    if (bytes_of(stats, from))
        *bytes_of(stats, from) -= n_bytes;
    if (bytes_of(stats, to))
        *bytes_of(stats, to) += n_bytes;
    if (is_in_stock(from))
        stats->stock_huge_bytes -= extent_huge_bytes(extent);
    if (is_in_stock(to))
        stats->stock_huge_bytes += extent_huge_bytes(extent);
    extent->state = to;
    /* Nobody's any more: the next daemon need not know of it. */
    if (to == EXTENT_SCRUBBING)
        store_blank(extent->extents->store, &extent->stored);
    check_debug(stats_is_valid(stats));
}

/* ---- descriptors for clients ---- */

void extent_plan_ahead(struct extent *extent)
{
    struct stats *stats = extent->extents->stats;
    extent->work.client_fd = -1;
    extent->work.opens_ahead = stats_fds_available(stats, FDS_FOR_PIDFD, 1);
    stats->n_ahead_fds += extent->work.opens_ahead;
}

void extent_open_ahead(struct extent *extent)
{
    int fd;
    if (extent->work.opens_ahead && memfd_reopen(extent->fd, &fd) == 0)
        extent->work.client_fd = fd;
}

static int take_ahead(struct extent *extent)
{
    int fd = extent->client_fd;
    if (fd < 0)
        return -1;
    extent->client_fd = -1;
    list_remove(&extent->ahead_link);
    extent->extents->n_ahead--;
    extent->extents->stats->n_ahead_fds--;
    return fd;
}

static void drop_ahead(struct extent *extent)
{
    int fd = take_ahead(extent);
    if (fd >= 0)
        close(fd);
}

void extent_note_ahead(struct extent *extent)
{
    struct extents *extents = extent->extents;
    int fd = extent->work.client_fd;
    if (!extent->work.opens_ahead)
        return;
    extent->work.opens_ahead = false;
    extent->work.client_fd = -1;
    if (fd < 0) { /* cancelled, or out of descriptors */
        extents->stats->n_ahead_fds--;
        return;
    }
    extent->client_fd = fd;
    list_push_back(&extents->ahead, &extent->ahead_link);
    /* What came into the stock first is leased last. */
    if (++extents->n_ahead > EXTENTS_AHEAD_MAX)
        drop_ahead(list_entry(list_first(&extents->ahead), struct extent, ahead_link));
}

/* Descriptors have become few. */
static void give_way(struct extents *extents)
{
    while (extents->n_ahead > 0 && !stats_fds_available(extents->stats, FDS_FOR_PIDFD, 0))
        drop_ahead(list_entry(list_first(&extents->ahead), struct extent, ahead_link));
}

int extent_open_for_lease(struct extent *extent, int *fd_out)
{
    int fd = take_ahead(extent);
    give_way(extent->extents);
    if (fd < 0)
        return memfd_reopen(extent->fd, fd_out);
    *fd_out = fd;
    return 0;
}

/* ---- its end ---- */

static void close_run(struct worker_job *job)
{
    close(list_entry(job, struct extent, work.job)->fd);
}

static void close_done(struct worker_job *job)
{
    struct extent *extent = list_entry(job, struct extent, work.job);
    if (job->cancelled) /* the daemon ends */
        close_run(job);
    extent->extents->stats->n_extents--;
    list_remove(&extent->hash_link);
    quota_discharge(&extent->charge);
    quota_discharge(&extent->fd_charge);
    quota_discharge(&extent->closing_charge);
    free(extent);
}

/* Its user may have others in its place before it is closed, up to a bound: on a host of many
 * processors programs fill pages faster than one worker frees them, and the difference would be
 * nobody's. */
static void discharge_ahead(struct extent *extent)
{
    struct quota_user *user = extent->charge.user;
    if (!user ||
        quota_charge(&extent->closing_charge, user, QUOTA_CLOSING, extent_bytes(extent)) != 0)
        return;
    quota_discharge(&extent->charge);
    quota_discharge(&extent->fd_charge);
}

void extent_discard(struct extent *extent)
{
    check_or_trap(!extent->care.in_flight);
    list_remove(&extent->link);
    list_remove(&extent->age_link);
    drop_ahead(extent);
    discharge_ahead(extent);
    store_drop(extent->extents->store, &extent->stored);
    extent->client = NULL;
    extent_change_state(extent, EXTENT_DISCARDED);
    extent->work.job.run = close_run;
    extent->work.job.done = close_done;
    /* Where one worker does it: thousands may go at a time, some milliseconds each if their pages
     * are small, and must not hold up what is to be scrubbed or punched. */
    workers_submit(extent->extents->workers, &extent->work.job, WORKER_BACKGROUND);
}
