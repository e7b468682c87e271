/*
 * What the daemon counts. Loop thread only.
 *
 * Invariant, at every moment the loop is between two callbacks:
 *   created_bytes_total - discarded_bytes_total = stock + leased + orphan + scrubbing bytes.
 * Bytes are extents' sizes, whether or not their pages are there. Changed by extent_change_state()
 * alone, as are the four that it balances.
 */
#ifndef HAKMEMD_STATS_H
#define HAKMEMD_STATS_H

#include <stdbool.h>
#include <stdint.h>

struct stats {
    uint64_t stock_bytes; /* fresh and recycled */
    uint64_t stock_huge_bytes;
    uint64_t leased_bytes;
    uint64_t orphan_bytes;
    uint64_t scrubbing_bytes;
    uint64_t created_bytes_total;
    uint64_t discarded_bytes_total;

    uint64_t started_ms;
    uint64_t leases_total;      /* extents handed out */
    uint64_t cold_leases_total; /* of those, made on the spot without prewarming */
    uint64_t reused_bytes_total;
    uint64_t returned_bytes_total;
    uint64_t reclaimed_bytes_total;
    uint64_t scrubbed_bytes_total;
    uint64_t denied_quota_total;
    uint64_t denied_memory_total;
    uint64_t denied_busy_total;
    uint64_t prewarm_errors_total;
    uint64_t collapse_total;
    uint64_t remote_leases_total;   /* served from another NUMA node than the client's */
    uint64_t misplaced_bytes_total; /* prewarmed, but not on the node they were meant for */
    uint64_t connections_total;
    uint64_t accept_errors_total;
    uint64_t protocol_errors_total;
    uint64_t dropped_peers_total; /* peers that did not read */
    uint64_t throttled_total;     /* times that a peer had to wait for its own or its user's rate */
    uint64_t pressure_events_total;
    uint64_t held_bytes; /* of connected clients, from earlier daemons */

    uint64_t n_detached;       /* clients kept over a restart, not back yet */
    uint64_t reattached_total; /* those that came back */
    uint64_t stored_descriptors;
    uint64_t adopted_bytes;
    uint64_t store_errors_total;

    uint64_t n_peers;
    uint64_t n_pidfds;     /* peers' */
    uint64_t n_extents;    /* descriptors held for them */
    uint64_t n_ledger_fds; /* of clients whose ledger is not mapped yet */
    uint64_t n_ahead_fds;  /* opened ahead of need: to be sent to whoever comes next */
    uint64_t n_waiting;    /* descriptors held until the service manager has them */
    uint64_t fd_limit;
};

bool stats_is_valid(const struct stats *stats);

static inline uint64_t stats_denied_total(const struct stats *stats)
{
    return stats->denied_quota_total + stats->denied_memory_total + stats->denied_busy_total;
}

/* Descriptors in use, from above: an extent one, a peer one or two (socket, pidfd), a detached
 * client its pidfd. */
uint64_t stats_fds_used(const struct stats *stats);

/* What descriptors are wanted for; the later ones may take more of them, so that comfort does not
 * cost stock, and neither stock nor leases shut people out. */
enum stats_fds_purpose { FDS_FOR_PIDFD, FDS_FOR_STOCK, FDS_FOR_LEASE, FDS_FOR_PEER };

/* How many more may be opened, with a reserve left for passing them on. */
uint64_t stats_fds_free(const struct stats *stats, enum stats_fds_purpose purpose);
/* May `n` more? */
bool stats_fds_available(const struct stats *stats, enum stats_fds_purpose purpose, uint64_t n);

#endif
