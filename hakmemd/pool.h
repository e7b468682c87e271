/*
 * The stock: prewarmed extents that wait for a client. Fresh ones for anybody, recycled ones for
 * the user whose they were.
 *
 * How much: between pool.min and pool.max, following demand: what the busiest second of late calls
 * for (demand.h). Of fresh stock, what that second took beside recycled memory: programs that come
 * and go live on what those before them left. An idle host shrinks to the minimum. Which sizes, and
 * on which NUMA node: pool.min is split over all of them, the rest as they were asked for.
 *
 * An extent is made on a node and belongs to it from then on. A client gets what is on its own node
 * before what is further away, and that before something cold: memory that is far is slower by
 * half, memory that is cold by ten times. Where the kernel had to put its pages elsewhere it is
 * kept as what it was made for all the same, and counted: to make it again would only fail again.
 *
 * Invariants: fresh_bytes and recycled_bytes are the sums over the lists; fresh + warming +
 * recycled never grow past pool.max. Nothing is prewarmed above the target, nothing dropped below
 * it but under pressure: between the two lies a quarter of the target, so that the stock does not
 * swing.
 *
 * Loop thread only; prewarming itself runs on workers.
 */
#ifndef HAKMEMD_POOL_H
#define HAKMEMD_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/cgroup.h"
#include "hakmemd/demand.h"
#include "hakmemd/extent.h"
#include "hakmemd/fairshare.h"
#include "hakmemd/topology.h"

#define POOL_N_ORDERS DEMAND_N_ORDERS

struct event;
struct event_base;

struct pool_settings {
    uint64_t min_bytes;
    uint64_t max_bytes;
    enum extent_backing backing;
    uint64_t recycled_ms; /* how long recycled memory waits for its user */
};

/* What pressure allows; see pressure.h. */
enum pool_mode {
    POOL_OPEN,     /* prewarm to the target */
    POOL_NO_WARM,  /* prewarm nothing */
    POOL_NO_SPARE, /* and hold nothing above the target, nothing recycled */
    POOL_MINIMUM,  /* and hold no more than pool.min */
    POOL_CLOSED,   /* drained: hold nothing, lease nothing */
};

struct pool {
    struct pool_settings settings;
    struct extents *extents;
    struct workers *workers;
    struct cgroup *cgroup; /* the daemon's own: prewarmed pages are charged to it. May be NULL */
    const struct topology *topology;
    struct stats *stats;
    struct event *tick_event; /* pending only while there is something to age */
    struct event *refill_event;
    struct event *shed_event;  /* active while there is more to drop than one slice */
    uint64_t shed_recycled_ms; /* what was to leave its shelf by then is to go */
    bool sheds_fresh;          /* and fresh stock that is not wanted */
    enum pool_mode mode;
    bool hugetlb_failed; /* fall back to 2 MiB shmem pages until the next reload */

    struct list fresh[TOPOLOGY_MAX_NODES][POOL_N_ORDERS]; /* extent.link, warmest first */
    uint64_t n_fresh[TOPOLOGY_MAX_NODES][POOL_N_ORDERS];
    uint64_t fresh_bytes;
    uint64_t n_warming[TOPOLOGY_MAX_NODES][POOL_N_ORDERS];
    uint64_t n_leases[TOPOLOGY_MAX_NODES]; /* to a node's clients */
    uint64_t n_remote[TOPOLOGY_MAX_NODES]; /* of those, from another node's stock */
    uint64_t warming_bytes;
    unsigned n_jobs;
    uint64_t retry_ms; /* no prewarming before that: the last one failed */

    struct list recycled; /* extent.age_link, oldest first */
    uint64_t n_recycled[POOL_N_ORDERS];
    uint64_t recycled_bytes;

    struct demand demand;
    struct fairshare fairshare;

    const char *achieved; /* backing of the last extent prewarmed, as measured */
};

/* A NUMA node as it is shown. */
struct pool_node {
    int id; /* the kernel's number */
    uint64_t fresh_bytes;
    uint64_t n_leases; /* to its clients */
    uint64_t n_remote; /* of those, from other nodes' stock */
};

/* 0 or -ENOMEM. Begins to prewarm. Pointers are borrowed; `cgroup` may be NULL. */
int pool_init(struct pool *pool, const struct pool_settings *settings, struct event_base *base,
              struct extents *extents, struct workers *workers, struct cgroup *cgroup,
              const struct topology *topology, struct stats *stats);
/* Discards the stock. Before workers_free(). */
void pool_deinit(struct pool *pool);
void pool_apply(struct pool *pool, const struct pool_settings *settings);
void pool_set_mode(struct pool *pool, enum pool_mode mode);

/* The largest extent of the user's own shelf of an order from `low` to `high`, RECYCLED and off it;
 * or NULL. Of several the one on `node` (which may be TOPOLOGY_ANY_NODE, as below). */
struct extent *pool_take_recycled(struct pool *pool, struct quota_user *user, unsigned node,
                                  unsigned low, unsigned high);
/* The same of the fresh stock, from the nearest node that has any, within the user's fair share;
 * STOCK and off it. */
struct extent *pool_take_fresh(struct pool *pool, struct quota_user *user, unsigned node,
                               unsigned low, unsigned high);
/* A NEW extent without pages, for when the stock is out. 0 or a negative errno. */
int pool_make_cold(struct pool *pool, unsigned node, unsigned order, struct extent **extent_out);
/* Tells what a client took of the fresh stock, or of what was made on the spot for want of it:
 * n_bytes, for want of an extent of `order` on `node`. Refills: at once if little is left, else
 * when leases have paused. */
void pool_note_demand(struct pool *pool, unsigned node, unsigned order, uint64_t n_bytes);
/* Tells what it took off its user's own shelf: n_bytes for a client on `node`. */
void pool_note_reuse(struct pool *pool, unsigned node, uint64_t n_bytes);

/* Is there room on the shelves for this much more? */
bool pool_wants_recycled(const struct pool *pool, uint64_t n_bytes);
/* Consumes a SCRUBBING, clean extent, charged to its user: onto the shelf, or discarded. */
void pool_put_recycled(struct pool *pool, struct extent *extent);
/* Discards the oldest of a user's shelf. False: it is empty. */
bool pool_drop_one_recycled(struct pool *pool, struct quota_user *user);

/* Wants this much in stock for a while, as if it had been asked for. The target, bounded by
 * pool.max, is returned. */
uint64_t pool_ask(struct pool *pool, uint64_t n_bytes);
/* Forgets the demand, and begins to discard what is recycled, and fresh stock down to pool.min: so
 * many bytes. */
uint64_t pool_trim(struct pool *pool);
uint64_t pool_target_bytes(const struct pool *pool);
/* A second is over: demand fades, what is old goes. By the pool's own timer. */
void pool_tick(struct pool *pool);

/* Fresh extents of one order, on all nodes. */
uint64_t pool_n_fresh(const struct pool *pool, unsigned order);
void pool_describe_node(const struct pool *pool, unsigned node, struct pool_node *node_out);
/* Bytes of 2 MiB pages in stock of one order. */
uint64_t pool_huge_bytes(const struct pool *pool, unsigned order);

const char *pool_backing_name(enum extent_backing backing);

bool pool_is_valid(const struct pool *pool);

#endif
