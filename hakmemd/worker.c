/* See worker.h. */
#include "hakmemd/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/atomic.h"
#include "common/check.h"
#include "hakmemd/turn.h"

#define N_THREADS_MAX 2

/* Finished jobs seen to in one go; then the loop looks who else is there. */
#define DONE_A_TURN 8

/* Nice levels: what a program waits for at once, what it will want soon, and what is made ahead of
 * any need. */
#define NICE_LOOP       (-10)
#define NICE_URGENT     0
#define NICE_BACKGROUND 3

/* worker_job.step */
enum { JOB_WAITS, JOB_BEGUN, JOB_CANCELLED };

struct worker {
    struct workers *workers;
    pthread_t thread;
    bool is_started;
    bool takes_background;
    unsigned
        is_asleep; /* atomic. Waits for `wake`, or is about to: whoever takes this away posts */
    sem_t wake;
};

/*
 * The loop takes no lock. A worker that holds one may be off its processor for as long as the host
 * likes, since it is of lower priority, and the loop, and every program with it, would wait for it:
 * so it was, some milliseconds at a time. What goes between them goes through two stacks, each of
 * which one side pushes to and the other takes whole.
 *
 * A semaphore for each worker and no condition variable: to signal one of those may make the caller
 * wait until a thread woken before has run (glibc's groups of waiters).
 */
struct workers {
    struct worker_job *incoming; /* atomic, the last first; by the loop */
    struct worker_job *finished; /* atomic, the last first; by the workers */
    unsigned stopping;           /* atomic */

    pthread_mutex_t lock; /* the workers' alone */
    struct list queues[WORKER_N_URGENCIES];

    struct list to_be_done; /* taken from `finished`; the loop's */
    int done_fd;            /* eventfd: written when `finished` ceases to be empty */
    struct event *done_event;
    unsigned n_threads;
    struct worker threads[N_THREADS_MAX];
};

/* Of this thread alone. Without the right to go below 0 it stays where it was. */
static void set_nice(int level)
{
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), level);
}

/* ---- the stacks ---- */

/* True: it was empty. */
static bool push(struct worker_job **stack, struct worker_job *job)
{
    struct worker_job *first = atomic_load_relaxed(stack); /* a guess */
    do {
        job->next = first;
        /* Pairs with the swap in take_all(): the job as it was left. Sequentially consistent for
         * rouse() and sleep_unless_busy(). */
    } while (!atomic_cas_seq_cst(stack, &first, job));
    return first == NULL;
}

/* All of it, the first pushed first. */
static struct worker_job *take_all(struct worker_job **stack)
{
    /* Pairs with the swap in push(). */
    struct worker_job *job = atomic_swap_seq_cst(stack, NULL), *first = NULL;
    while (job) {
        struct worker_job *next = job->next;
        job->next = first;
        first = job;
        job = next;
    }
    return first;
}

/* ---- the workers' side ---- */

/* With the lock. */
static void sort_incoming(struct workers *workers)
{
    for (struct worker_job *in = take_all(&workers->incoming); in; in = in->next)
        list_push_back(&workers->queues[in->urgency], &in->link);
}

static struct worker_job *next_job(struct worker *worker)
{
    struct workers *workers = worker->workers;
    struct worker_job *job = NULL;
    pthread_mutex_lock(&workers->lock);
    sort_incoming(workers);
    for (int urgency = 0; urgency < WORKER_N_URGENCIES && !job; urgency++) {
        struct list *first = list_first(&workers->queues[urgency]);
        if (first && (urgency != WORKER_BACKGROUND || worker->takes_background)) {
            job = list_entry(first, struct worker_job, link);
            list_remove(first);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return job;
}

/* A job that came meanwhile, or NULL: it has slept, or is to stop. */
static struct worker_job *sleep_unless_busy(struct worker *worker)
{
    /* Before the looks at what has come in and at `stopping`: what is pushed or said after these
     * looks finds us asleep (rouse()), what came before is seen. */
    atomic_swap_seq_cst(&worker->is_asleep, 1u);
    struct worker_job *job = next_job(worker);
    if (job || atomic_load_seq_cst(&worker->workers->stopping)) {
        atomic_swap_seq_cst(&worker->is_asleep,
                            0u); /* if roused as well, the next sleep is short */
        return job;
    }
    while (sem_wait(&worker->wake) < 0)
        ; /* EINTR */
    return NULL;
}

static void finish(struct workers *workers, struct worker_job *job)
{
    uint64_t one = 1;
    if (!push(&workers->finished, job))
        return; /* whoever came first tells */
    /* Cannot fail but by a full counter, some centuries from now. */
    ssize_t n = write(workers->done_fd, &one, sizeof(one));
    (void)n;
}

static void handle(struct workers *workers, struct worker_job *job)
{
    unsigned step = JOB_WAITS;
    /* Relaxed, both: it says nothing but which of the two came first. */
    job->cancelled =
        (job->urgency == WORKER_BACKGROUND && atomic_load_relaxed(&workers->stopping)) ||
        !atomic_cas_relaxed(&job->step, &step, JOB_BEGUN);
    if (!job->cancelled)
        job->run(job);
    finish(workers, job);
}

static void *worker_main(void *data)
{
    struct worker *worker = data;
    struct workers *workers = worker->workers;

    set_nice(worker->takes_background ? NICE_BACKGROUND : NICE_URGENT);
    for (;;) {
        /* Pairs with the swap in workers_free(): what came in before that is there to be seen. */
        bool stopping = atomic_load_seq_cst(&workers->stopping);
        struct worker_job *job = next_job(worker);
        if (!job && stopping)
            return NULL;
        if (!job)
            job = sleep_unless_busy(worker);
        if (job)
            handle(workers, job);
    }
}

/* ---- the loop's side ---- */

/* Wakes a worker that sleeps and takes this kind, if there is one. */
static bool rouse(struct workers *workers, enum worker_urgency urgency)
{
    for (unsigned i = 0; i < workers->n_threads; i++) {
        struct worker *worker = &workers->threads[i];
        /* After the push: see sleep_unless_busy(). */
        if ((urgency != WORKER_BACKGROUND || worker->takes_background) &&
            atomic_swap_seq_cst(&worker->is_asleep, 0u)) {
            sem_post(&worker->wake);
            return true;
        }
    }
    return false;
}

/* Calls done() of at most `n_max` jobs. True: that may not have been all. */
static bool call_done(struct workers *workers, size_t n_max)
{
    struct list *all = &workers->to_be_done;
    for (size_t n = 0; n < n_max && (n == 0 || turn_has_time()); n++) {
        if (list_is_empty(all)) {
            /* A done() may submit again, and so finish another, when the threads are gone. */
            for (struct worker_job *job = take_all(&workers->finished); job; job = job->next)
                list_push_back(all, &job->link);
            if (list_is_empty(all))
                return false;
        }
        struct worker_job *job = list_entry(list_first(all), struct worker_job, link);
        list_remove(&job->link);
        job->done(job);
    }
    return true;
}

static void on_done(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct workers *workers = data;
    turn_begin();
    if (call_done(workers, DONE_A_TURN))
        event_active(workers->done_event, EV_READ, 0); /* after whoever else is ready */
    turn_end();
}

static int start_threads(struct workers *workers)
{
    /* Signals are the loop's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = 0;
    for (unsigned i = 0; i < workers->n_threads && r == 0; i++) {
        struct worker *worker = &workers->threads[i];
        worker->workers = workers;
        worker->takes_background = i > 0;
        sem_init(&worker->wake, 0, 0);
        r = -pthread_create(&worker->thread, NULL, worker_main, worker);
        worker->is_started = r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

int workers_new(struct event_base *base, unsigned n_threads, struct workers **workers_out)
{
    check_or_trap(n_threads > 0 && n_threads <= N_THREADS_MAX);
    struct workers *workers = calloc(1, sizeof(*workers));
    if (!workers)
        return -ENOMEM;
    int r = -ENOMEM;
    workers->n_threads = n_threads;
    pthread_mutex_init(&workers->lock, NULL);
    for (int i = 0; i < WORKER_N_URGENCIES; i++)
        list_init(&workers->queues[i]);
    list_init(&workers->to_be_done);
    workers->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers->done_fd < 0) {
        r = -errno;
        goto out;
    }
    /* Each write is an event of its own: nobody need read what they come to. */
    workers->done_event =
        event_new(base, workers->done_fd, EV_READ | EV_ET | EV_PERSIST, on_done, workers);
    if (!workers->done_event || event_add(workers->done_event, NULL) < 0)
        goto out;
    r = start_threads(workers);
    if (r < 0)
        goto out;
    /* The loop does little, and somebody's malloc waits for it. */
    set_nice(NICE_LOOP);
    *workers_out = workers;
    return 0;
out:
    workers_free(workers);
    return r;
}

void workers_cancel(struct workers *workers, struct worker_job *job)
{
    unsigned step = JOB_WAITS;
    (void)workers;
    /* Relaxed, as in handle(). */
    atomic_cas_relaxed(&job->step, &step, JOB_CANCELLED);
}

void workers_move_waiting(struct workers *from, struct workers *to)
{
    bool is_any = false;
    pthread_mutex_lock(&from->lock);
    sort_incoming(from);
    for (int urgency = 0; urgency < WORKER_N_URGENCIES; urgency++) {
        struct list *first;
        while ((first = list_first(&from->queues[urgency]))) {
            list_remove(first);
            push(&to->incoming, list_entry(first, struct worker_job, link));
            is_any = true;
        }
    }
    pthread_mutex_unlock(&from->lock);
    if (is_any)
        rouse(to, WORKER_URGENT);
}

static void tell_to_stop(struct workers *workers)
{
    /* Pairs with the loads in worker_main() and sleep_unless_busy(). */
    atomic_swap_seq_cst(&workers->stopping, 1u);
    while (rouse(workers, WORKER_URGENT))
        ;
}

bool workers_stop_within(struct workers *workers, unsigned wait_ms)
{
    struct timespec until;
    if (!workers)
        return true;
    tell_to_stop(workers);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    for (unsigned i = 0; i < workers->n_threads; i++) {
        struct worker *worker = &workers->threads[i];
        if (worker->is_started && pthread_timedjoin_np(worker->thread, NULL, &until) != 0)
            return false;
        if (worker->is_started)
            sem_destroy(&worker->wake);
        worker->is_started = false;
    }
    return true;
}

void workers_free(struct workers *workers)
{
    if (!workers)
        return;
    tell_to_stop(workers);
    for (unsigned i = 0; i < workers->n_threads; i++) {
        if (!workers->threads[i].is_started)
            continue;
        pthread_join(workers->threads[i].thread, NULL);
        sem_destroy(&workers->threads[i].wake);
    }
    call_done(workers, SIZE_MAX);
    if (workers->done_event)
        event_free(workers->done_event);
    if (workers->done_fd >= 0)
        close(workers->done_fd);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

void workers_submit(struct workers *workers, struct worker_job *job, enum worker_urgency urgency)
{
    job->urgency = urgency;
    atomic_store_relaxed(&job->step, JOB_WAITS); /* published by push() */
    /* Relaxed: only this thread sets it. */
    if (atomic_load_relaxed(&workers->stopping)) {
        /* From a done() while workers_free() winds up: no thread is left to hand it to. */
        handle(workers, job);
        return;
    }
    push(&workers->incoming, job);
    rouse(workers, urgency);
}
