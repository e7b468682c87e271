/* See stats.h. */
#include "hakmemd/stats.h"

/* The loop's own descriptors, and what libraries open in passing, plus one reply's
 * worth of leased ones. */
#define FDS_OWN     40
#define FDS_RESERVE 48

bool stats_is_valid(const struct stats *stats)
{
    return stats->created_bytes_total - stats->discarded_bytes_total ==
               stats->stock_bytes + stats->leased_bytes + stats->orphan_bytes +
                   stats->scrubbing_bytes &&
           stats->stock_huge_bytes <= stats->stock_bytes;
}

uint64_t stats_fds_used(const struct stats *stats)
{
    return FDS_OWN + stats->n_extents + stats->n_waiting + stats->n_detached + stats->n_peers +
           stats->n_pidfds + stats->n_ledger_fds + stats->n_ahead_fds;
}

/* Those in use, and those that are kept from this purpose. */
static uint64_t fds_taken(const struct stats *stats, enum stats_fds_purpose purpose)
{
    uint64_t headroom = purpose == FDS_FOR_PIDFD   ? stats->fd_limit / 8 * 5
                        : purpose == FDS_FOR_STOCK ? stats->fd_limit / 4
                        : purpose == FDS_FOR_LEASE ? stats->fd_limit / 8
                                                   : 0;
    return stats_fds_used(stats) + FDS_RESERVE + headroom;
}

uint64_t stats_fds_free(const struct stats *stats, enum stats_fds_purpose purpose)
{
    uint64_t taken = fds_taken(stats, purpose);
    return taken < stats->fd_limit ? stats->fd_limit - taken : 0;
}

bool stats_fds_available(const struct stats *stats, enum stats_fds_purpose purpose, uint64_t n)
{
    return fds_taken(stats, purpose) + n <= stats->fd_limit;
}
