/*
 * Punchers: the threads on which pages are taken out of extents that a client has.
 *
 * To punch a file takes its inode's lock, as writing to it does, and a client can hold that for as
 * long as it likes: by a write() from memory whose pages come from a FUSE server of its own, or by
 * userfaultfd. So punches have a thread of their own, and when that has been in one for longer
 * than any could take, it is left to it, and another goes on with the rest; but for those of the
 * same user, which are called off, and of which there are to be no more until it is free: the
 * owner counts, and looks. So one user holds up one thread, and everybody else's punches for a
 * moment.
 *
 * Loop thread only.
 */
#ifndef HAKMEMD_PUNCHERS_H
#define HAKMEMD_PUNCHERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/log.h"
#include "hakmemd/worker.h"

#define PUNCHERS_N_STUCK_MAX 16

struct event;
struct event_base;

/* A punch on its way. Embedded in what is punched. */
struct punch {
    struct worker_job job;
    struct list link;  /* punchers.in_flight, until it is stuck */
    unsigned *n_stuck; /* its user's count of those that are */
    struct log_subject subject;
    bool is_stuck;
};

struct punchers {
    struct event_base *base;
    struct workers *workers;
    struct event *timer; /* while something is in flight or stuck */
    unsigned check_ms;
    struct list in_flight;     /* punch.link, in the order in which they are begun */
    const struct punch *first; /* of them, at the last look */
    uint64_t n_done, n_done_then;
    /* Left to their punch; NULL: none. */
    struct workers *stuck[PUNCHERS_N_STUCK_MAX];
    const struct punch *stuck_in[PUNCHERS_N_STUCK_MAX]; /* NULL: it has come free */
};

/* 0 or a negative errno. */
int punchers_init(struct punchers *punchers, struct event_base *base);
/* Waits for what is in flight, and calls its done(). False: some of it is stuck, and the process
 * can only be left. Never initialised: does nothing. */
bool punchers_deinit(struct punchers *punchers);

/* punch->job.run, done and subject are set; done() is to call punchers_note_done(). */
void punchers_submit(struct punchers *punchers, struct punch *punch, unsigned *n_stuck);
void punchers_note_done(struct punchers *punchers, struct punch *punch);

#endif
