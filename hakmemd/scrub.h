/*
 * Where an extent goes when its client has let go of it: proof, then scrubbing, then its user's
 * shelf or its end.
 *
 * Proved ours alone (memfd.h) and to be used again by the same user: cleared on a worker, onto the
 * shelf. Ours alone and not to be used again: discarded. Not ours alone: an orphan, charged to its
 * user, looked at again after 1 ms, 2 ms, 4 ms and so on up to 33 s. Memory never goes to another
 * user but as a new memfd.
 *
 * Invariant: orphans[k] holds those that wait 2^k ms, in the order in which they are due, since all
 * on one list wait equally long. One timer, pending only while there are orphans.
 *
 * Loop thread only; clearing itself runs on workers.
 */
#ifndef HAKMEMD_SCRUB_H
#define HAKMEMD_SCRUB_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/extent.h"
#include "hakmemd/pool.h"

#define SCRUB_N_BACK_OFFS 16

enum scrub_reuse { REUSE_SAME_USER, REUSE_NEVER };

struct scrub {
    struct pool *pool;
    struct workers *workers;
    struct stats *stats;
    enum scrub_reuse reuse;
    bool stopping; /* deinitialised: discards what still comes */
    struct event *timer;
    struct list orphans[SCRUB_N_BACK_OFFS]; /* extent.link */
    struct list incoming;                   /* extent.link; let go of, not looked at yet: LEASED */
    unsigned n_this_turn;                   /* proofs since the loop was last at its events */
    struct event *incoming_event;           /* active while one of these two is not 0 */
};

/* 0 or -ENOMEM. */
int scrub_init(struct scrub *scrub, enum scrub_reuse reuse, struct event_base *base,
               struct pool *pool, struct workers *workers, struct stats *stats);
/* Discards the orphans, and whatever is accepted from then on. Before workers_free(). */
void scrub_deinit(struct scrub *scrub);

/* Consumes a LEASED extent that no client has any more and no work is in flight on. Where
 * there are many they are seen to in several turns of the loop, and stay charged to their user
 * until then. */
void scrub_accept(struct scrub *scrub, struct extent *extent);
/* Sees to up to `n_max` of these now. False: there were none. */
bool scrub_work_off(struct scrub *scrub, unsigned n_max);

/* A worker_job run(): clears the extent and gives it pages again where they are missing. */
void scrub_run(struct worker_job *job);

bool scrub_is_valid(const struct scrub *scrub);

#endif
