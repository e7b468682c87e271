/*
 * Leasing: which extents a client gets, and how they come back.
 *
 * A grant takes, for each piece of what is asked, the largest extent that fits: first from the
 * user's own shelf (already charged), then from the fresh stock, and if there is nothing at all,
 * one made on the spot without pages, so that a client never waits for a prewarm. Two limits bound
 * it: the client's and its user's.
 *
 * Invariant: every extent of a client is LEASED, on its list and charged to its user, before its
 * descriptor is sent. Loop thread only.
 */
#ifndef HAKMEMD_LEASE_H
#define HAKMEMD_LEASE_H

#include <stddef.h>
#include <stdint.h>

#include "common/conn.h"
#include "common/list.h"
#include "hakmemd/client.h"
#include "hakmemd/pool.h"
#include "hakmemd/reclaim.h"
#include "hakmemd/scrub.h"

/* Positive, documented conditions of lease_grant(): nothing was granted. */
#define LEASE_USER_LIMIT   1 /* quota.bytes_per_user */
#define LEASE_CLIENT_LIMIT 2 /* quota.bytes_per_client */
#define LEASE_NO_MEMORY    3 /* out of stock, and memory or descriptors are short */
#define LEASE_DRAINING     4
#define LEASE_CGROUP_LIMIT 5 /* memory.max of the client's control group */
#define LEASE_FDS_LIMIT    6 /* the user's share of the daemon's descriptors */

struct event;
struct event_base;

struct leases {
    struct pool *pool;
    struct scrub *scrub;
    struct reclaim *reclaim;
    struct stats *stats;
    bool refusing;       /* pressure: lease only what the user has on its own shelf */
    bool draining;       /* lease nothing */
    struct list clients; /* client.link */
    uint64_t n_clients;
    struct list ended;         /* client.link: their extents go on, some at a time */
    struct event *ended_event; /* active while there are some */
};

/* One extent of a grant: `fd` is a descriptor of its own, to be sent and then closed by whoever
 * holds the grant. */
struct lease_grant {
    struct extent *extent;
    int fd;
};

/* 0 or -ENOMEM. */
int leases_init(struct leases *leases, struct event_base *base, struct pool *pool,
                struct scrub *scrub, struct reclaim *reclaim, struct stats *stats);
/* Lets go of what is left of clients that have ended. More may end afterwards. */
void leases_deinit(struct leases *leases);

/* The client becomes one of those watched. */
void lease_add_client(struct leases *leases, struct client *client);

/* The processor (plus one; 0: not told) that the client's request was made on: what it is granted
 * comes from memory near it. */
void lease_set_cpu(struct leases *leases, struct client *client, uint32_t cpu_plus_one);

/*
 * Grants up to `n_slabs` SuperSlabs, in at most CONN_MAX_FDS extents of at least `run_slabs` (a
 * valid extent size). 0 and at least one grant, or one of the conditions above; every refusal is
 * counted.
 */
int lease_grant(struct leases *leases, struct client *client, uint32_t n_slabs, uint32_t run_slabs,
                size_t max_grants, struct lease_grant grants[CONN_MAX_FDS], size_t *n_grants_out);

/* Takes an extent back. False: it is not this client's, or a punch is working on it, as with no
 * honest client. */
bool lease_return(struct leases *leases, struct client *client, uint64_t extent_id);

/* Consumes the client, whose extents nothing works on (client_end): its extents go on, thousands of
 * them in slices of the loop's time. */
void lease_end(struct leases *leases, struct client *client);

#endif
