/*
 * The extent: one memfd of 1, 2, 4, 8 or 16 SuperSlabs, from its creation to its end, and the only
 * place where its state changes.
 *
 *   NEW ── prewarmed ──> STOCK ── leased ──> LEASED ── returned, client gone ──> (proof) ──>
 * SCRUBBING ──> RECYCLED └── leased cold ─────────────────────────^  ^ │                          │
 *                                                └── leased again, same user
 * ──────┼──────────────────────────┘ └─ not exclusive ─> ORPHAN ─> (proof) and any of them ──>
 * DISCARDED, which is the end. See extent_transition_is_allowed().
 *
 * Invariants: an extent is in the byte count of exactly one state (stats.h). A recycled or
 * scrubbing extent, like a leased one or an orphan, is charged to its user; a fresh one to nobody.
 * It is never leased to another user than that.
 *
 * Loop thread only, except what a job's run() works on: the descriptor and the job's own fields.
 */
#ifndef HAKMEMD_EXTENT_H
#define HAKMEMD_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "common/superslab.h"
#include "hakmemd/punchers.h"
#include "hakmemd/quota.h"
#include "hakmemd/stats.h"
#include "hakmemd/store.h"
#include "hakmemd/topology.h"
#include "hakmemd/worker.h"

enum extent_state {
    EXTENT_NEW,       /* made, perhaps being prewarmed; not counted yet */
    EXTENT_STOCK,     /* fresh: for anybody */
    EXTENT_LEASED,    /* in a client's hands */
    EXTENT_ORPHAN,    /* the client let go of it, something else did not */
    EXTENT_SCRUBBING, /* proved ours alone; being cleared on a worker */
    EXTENT_RECYCLED,  /* clear, on its user's shelf */
    EXTENT_DISCARDED, /* being closed on a worker, then gone */
    EXTENT_N_STATES
};

/* Reclaim's memory of one SuperSlab: the state word last seen, and since when. */
struct extent_watch {
    uint32_t word;
    uint32_t since_ms; /* of clock_now_ms(), wrapping */
};

/* A punch under way: at most one at a time; begun and ended by client_begin_work() and
 * client_end_work(). */
struct extent_care {
    struct punch punch;
    bool in_flight;
    bool leaving; /* returned meanwhile: goes on when the work is over */
    uint16_t slabs;
    int error;
    uint32_t
        words[EXTENT_MAX_SLABS]; /* of a punch: the RECLAIMING words written, to be changed on */
};

/* How an extent's pages are, or are to be, made. */
enum extent_backing { BACKING_AUTO, BACKING_THP, BACKING_4K, BACKING_HUGETLB };

/* What prewarm or scrub is to do, and what it found: the job's own, while one runs. */
struct extent_work {
    struct worker_job job;
    void *owner; /* the module that submitted it */
    enum extent_backing backing;
    int binding;         /* in: NUMA node for new pages, the kernel's number or TOPOLOGY_UNBOUND */
    uint16_t keep_slabs; /* in: SuperSlabs whose pages are worth clearing rather than making anew */
    uint16_t huge_slabs; /* out: as measured */
    uint8_t n_unmeasured; /* scrubs since */
    uint32_t n_collapsed;
    uint32_t n_misplaced; /* out: SuperSlabs whose pages are on another node than `binding` */
    bool opens_ahead;     /* in: extent_open_ahead() */
    int client_fd;        /* out: of that, or -1 */
    int error;
};

struct client;

struct extent {
    struct list link;      /* pool.fresh[], user.shelf[], client.leases or scrub.orphans[] */
    struct list age_link;  /* pool.recycled, while RECYCLED */
    struct list hash_link; /* extents.buckets[] */
    struct extents *extents;
    uint64_t id;
    int fd;                 /* D, see memfd.h */
    uint64_t inode;         /* of it, for the store; 0: not looked up */
    int client_fd;          /* for its next lease, STOCK and RECYCLED only; -1: not opened yet */
    struct list ahead_link; /* extents.ahead, while there is one */
    uint32_t n_slabs;
    enum extent_state state;
    unsigned node;          /* index in topology.h: where its pages were to be made */
    uint16_t huge_slabs;    /* bit per SuperSlab: a 2 MiB page, as last measured */
    uint16_t punched_slabs; /* bit per SuperSlab: punched at some time in this lease */
    uint16_t paid_slabs;    /* bit per SuperSlab: its pages are the daemon's, as the kernel charges
                               them; those of the others are the client's, once it touches them */

    struct quota_charge charge;         /* its bytes; with it: */
    struct quota_charge fd_charge;      /* D */
    struct quota_charge closing_charge; /* DISCARDED: instead of these */
    struct store_entry stored;          /* from its first lease on */
    struct client *client;              /* while LEASED */
    uint32_t first_slot;                /* while LEASED */
    struct extent_watch watch[EXTENT_MAX_SLABS];
    unsigned reclaim_round;  /* reclaim.c's: the last that it was looked at in */
    struct extent_care care; /* while LEASED */

    struct extent_work work;
    uint64_t due_ms;   /* ORPHAN: next look. RECYCLED: since */
    unsigned back_off; /* ORPHAN: index into scrub.orphans */
};

#define EXTENTS_N_BUCKETS 1024
#define EXTENTS_AHEAD_MAX 32

/* Every extent there is. */
struct extents {
    struct stats *stats;
    struct workers *workers;
    struct punchers *punchers;       /* borrowed */
    struct store *store;             /* borrowed; may be off */
    const struct topology *topology; /* borrowed */
    uint64_t last_id;
    struct list ahead; /* extent.ahead_link, the one opened first in front */
    unsigned n_ahead;
    struct list buckets[EXTENTS_N_BUCKETS];
};

void extents_init(struct extents *extents, struct stats *stats, struct workers *workers,
                  struct punchers *punchers, struct store *store, const struct topology *topology);

/* A NEW extent without pages. 0, -EMFILE (too few descriptors left), or another negative errno. */
int extent_new(struct extents *extents, uint32_t n_slabs, enum extent_backing backing,
               struct extent **extent_out);

/* A NEW extent from an earlier daemon's, as its record says; consumes its descriptor D and keeps
 * its record. 0, or -EINVAL (it is not what the record says) or -ENOMEM, and nothing has changed.
 */
int extent_adopt(struct extents *extents, const struct store_record *record, uint32_t index, int fd,
                 struct extent **extent_out);

struct extent *extent_find(struct extents *extents, uint64_t id);

bool extent_transition_is_allowed(enum extent_state from, enum extent_state to);

/* Changes the state and the byte counts with it. Traps on a transition that is not allowed: it
 * would be our own bug. */
void extent_change_state(struct extent *extent, enum extent_state to);

/* The end of it from any state: off its list, closed on a worker (freeing many pages takes a
 * while). Uncharged at once, unless the user has much that waits to be closed: then when it is. */
void extent_discard(struct extent *extent);

/*
 * The descriptor that a client gets, a file of its own for each lease, is opened ahead of need
 * where that may be done on a worker, for as many of the last that came into the stock as there may
 * be, unless descriptors are few: a look-up in /proc, for which a program would wait.
 *
 * Before a job is submitted, on the loop; at its end, by the worker; when it is done, on the loop.
 */
void extent_plan_ahead(struct extent *extent);
void extent_open_ahead(struct extent *extent);
void extent_note_ahead(struct extent *extent);
/* The descriptor for a lease, which is the caller's: what was opened ahead, or another. 0 or a
 * negative errno. */
int extent_open_for_lease(struct extent *extent, int *fd_out);

/* What the next daemon is to know of an extent: of this kind, nobody's. */
struct store_record extent_record(const struct extent *extent, enum store_kind kind, uid_t uid);

static inline uint64_t extent_bytes(const struct extent *extent)
{
    return (uint64_t)extent->n_slabs << SUPERSLAB_SHIFT;
}

static inline uint64_t extent_huge_bytes(const struct extent *extent)
{
    return (uint64_t)__builtin_popcount(extent->huge_slabs) << SUPERSLAB_SHIFT;
}

/* A bit for each SuperSlab. */
static inline uint16_t extent_all_slabs(const struct extent *extent)
{
    return (uint16_t)((1u << extent->n_slabs) - 1);
}

#endif
