/*
 * Worker threads: where everything slow happens (prewarm, scrub, punch, close), so that the loop
 * never waits.
 *
 * A job belongs to the workers from submission until its done() has been called, which happens on
 * the loop thread. run() is called on a worker and touches nothing but the job and what was handed
 * to it. A queue for each urgency, the more urgent first; one worker never takes background jobs,
 * so that none of the others waits for one of those.
 */
#ifndef HAKMEMD_WORKER_H
#define HAKMEMD_WORKER_H

#include <stdbool.h>

#include "common/list.h"

struct event_base;
struct workers;

/* PROMPT: some microseconds' work that a program's next step may have to wait for. URGENT: perhaps
 * milliseconds' work on memory that is wanted back. BACKGROUND: what nobody waits for: to make
 * memory that has not been asked for, or to free some. */
enum worker_urgency { WORKER_PROMPT, WORKER_URGENT, WORKER_BACKGROUND, WORKER_N_URGENCIES };

/* Embedded in what it works on. */
struct worker_job {
    void (*run)(struct worker_job *job);
    void (*done)(struct worker_job *job);
    bool cancelled; /* for done(): run() was never called */
    /* The workers' own: */
    struct worker_job *next; /* in workers.incoming or workers.finished */
    struct list link;        /* workers.queues[] or workers.to_be_done */
    enum worker_urgency urgency;
    unsigned step;
};

/* With one thread or two, of which the first takes no background jobs. 0 or a negative errno. */
int workers_new(struct event_base *base, unsigned n_threads, struct workers **workers_out);

/* Runs prompt and urgent jobs to their end, cancels background ones not begun, calls every done().
 * Accepts NULL. */
void workers_free(struct workers *workers);

/* Lets the threads come to their end, as before workers_free(), which is then still to be called.
 * False: one of them has not, in this time. Accepts NULL. */
bool workers_stop_within(struct workers *workers, unsigned wait_ms);

/* What no thread has begun goes to other workers, who call its done(). For workers whose threads do
 * not get on. */
void workers_move_waiting(struct workers *from, struct workers *to);

/* If no worker has begun the job, none will: it is finished, as cancelled, when its turn comes;
 * done() is still called from the loop. */
void workers_cancel(struct workers *workers, struct worker_job *job);

/* Never waits for a worker. */
void workers_submit(struct workers *workers, struct worker_job *job, enum worker_urgency urgency);

#endif
