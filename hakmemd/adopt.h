/*
 * Adoption: what an earlier daemon left in the service manager's descriptor store becomes this
 * one's again, and its clients come back to their ledgers. docs/restart.md explains it.
 *
 * A client from before is *detached*: it leases what it leased, is charged, its IDLE SuperSlabs are
 * reclaimed; only its connection is missing. It ends when it has not come back within
 * restart.reattach_ms, or when its process ends, in the way in which a client ends whose connection
 * does. Extents that belong to no client are orphans.
 *
 * Invariant: a client on `detached` has no peer, and one with a peer is not on it. Each on it is in
 * the bucket of its process. Loop thread only.
 */
#ifndef HAKMEMD_ADOPT_H
#define HAKMEMD_ADOPT_H

#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "hakmemd/lease.h"

struct event;
struct event_base;

#define ADOPT_N_BUCKETS 1024

struct adopt {
    struct event_base *base;
    struct leases *leases;
    struct quota *quota;
    struct ledgers *ledgers;
    struct cgroups *cgroups;
    struct store *store;
    struct stats *stats;
    struct event *timer;
    bool is_over;         /* nobody is waited for any more */
    struct list detached; /* detached.link */
    /* detached.process_link, by pid: after a restart every program says Hello, in little time. */
    struct list processes[ADOPT_N_BUCKETS];
};

/* Takes over all that the store has: before anybody is served. 0 or -ENOMEM. All but `adopt` are
 * borrowed. */
int adopt_init(struct adopt *adopt, uint64_t reattach_ms, struct event_base *base,
               struct leases *leases, struct quota *quota, struct ledgers *ledgers,
               struct cgroups *cgroups, struct store *store, struct stats *stats);
/* Ends the detached clients. Before workers_free(). Never initialised: does nothing. */
void adopt_deinit(struct adopt *adopt);

/*
 * The detached client that this process claims to be, which is the caller's from now on; what it
 * let go of meanwhile has been taken back. NULL: there is none with this id, token, process and
 * user.
 */
struct client *adopt_reattach(struct adopt *adopt, uint64_t id, const void *token, size_t n_bytes,
                              pid_t pid, uid_t uid);
/* The process begins anew: what is detached of it will not be claimed, and ends. */
void adopt_forget(struct adopt *adopt, pid_t pid, uid_t uid);

#endif
