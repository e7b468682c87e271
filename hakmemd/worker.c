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

#include "hakmemd/turn.h"

#define N_WORKERS 2

/* Finished jobs seen to in one go; then the loop looks who else is there. */
#define DONE_A_TURN 8

/* Nice levels: what a program waits for at once, what it will want soon, and what is made ahead of
 * any need. */
#define NICE_LOOP       (-10)
#define NICE_URGENT     0
#define NICE_BACKGROUND 3

struct worker {
    struct workers *workers;
    pthread_t thread;
    bool is_started;
    bool takes_background;
    bool is_asleep; /* under workers.lock: waits for `wake`, which is due once for it */
    sem_t wake;
};

/*
 * Under `lock`: queues, finished, stopping. The rest belongs to the loop thread.
 *
 * A semaphore for each worker and no condition variable: to signal one of those may make the caller
 * wait until a thread woken before has run (glibc's groups of waiters), which is the last thing
 * that the loop should wait for.
 */
struct workers {
    pthread_mutex_t lock;
    struct list queues[WORKER_N_URGENCIES];
    struct list finished;
    bool stopping;

    struct list to_be_done; /* taken from `finished` */
    int done_fd;            /* eventfd: `finished` is not empty */
    struct event *done_event;
    struct worker threads[N_WORKERS];
};

/* Of this thread alone. Without the right to go below 0 it stays where it was. */
static void set_nice(int level)
{
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), level);
}

/* Under lock. */
static struct worker_job *next_job(struct worker *worker)
{
    for (int urgency = 0; urgency < WORKER_N_URGENCIES; urgency++) {
        if (urgency == WORKER_BACKGROUND && !worker->takes_background)
            continue;
        struct list *first = list_first(&worker->workers->queues[urgency]);
        if (first) {
            struct worker_job *job = list_entry(first, struct worker_job, link);
            list_remove(first);
            job->queued = false;
            return job;
        }
    }
    return NULL;
}

/* Under lock. A worker that sleeps and takes this kind, to be woken by the caller; NULL: none. */
static struct worker *rouse(struct workers *workers, enum worker_urgency urgency)
{
    for (size_t i = 0; i < N_WORKERS; i++) {
        struct worker *worker = &workers->threads[i];
        if (worker->is_asleep && (urgency != WORKER_BACKGROUND || worker->takes_background)) {
            worker->is_asleep = false;
            return worker;
        }
    }
    return NULL;
}

/* Moves all of `from` to the end of `to`. */
static void splice_back(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    list_init(from);
}

/* Under lock. True: the loop is to be told, by report_finished() and after unlocking. */
static bool finish(struct workers *workers, struct worker_job *job)
{
    bool was_empty = list_is_empty(&workers->finished);
    list_push_back(&workers->finished, &job->link);
    return was_empty;
}

/*
 * Not under lock: it wakes the loop, which may take this thread's processor at once, and would then
 * wait for a lock that a thread of lower priority holds and cannot release.
 */
static void report_finished(struct workers *workers)
{
    uint64_t one = 1;
    /* Cannot fail but by a full counter, which is readable, too. */
    ssize_t n = write(workers->done_fd, &one, sizeof(one));
    (void)n;
}

static void *worker_main(void *data)
{
    struct worker *worker = data;
    struct workers *workers = worker->workers;

    set_nice(worker->takes_background ? NICE_BACKGROUND : NICE_URGENT);
    pthread_mutex_lock(&workers->lock);
    for (;;) {
        struct worker_job *job = next_job(worker);
        if (!job) {
            if (workers->stopping)
                break;
            worker->is_asleep = true;
            pthread_mutex_unlock(&workers->lock);
            while (sem_wait(&worker->wake) < 0)
                ; /* EINTR */
            pthread_mutex_lock(&workers->lock);
            continue;
        }
        pthread_mutex_unlock(&workers->lock);
        job->run(job);
        pthread_mutex_lock(&workers->lock);
        if (finish(workers, job)) {
            pthread_mutex_unlock(&workers->lock);
            report_finished(workers);
            pthread_mutex_lock(&workers->lock);
        }
    }
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

/* Calls done() of at most `n_max` jobs. True: that was not all. */
static bool call_done(struct workers *workers, size_t n_max)
{
    struct list *all = &workers->to_be_done;
    for (size_t n = 0; n < n_max; n++) {
        if (list_is_empty(all)) {
            /* A done() may submit again, and so finish another, when the threads are gone. */
            pthread_mutex_lock(&workers->lock);
            splice_back(all, &workers->finished);
            pthread_mutex_unlock(&workers->lock);
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
    (void)what;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof(count));
    (void)n;
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
    for (size_t i = 0; i < N_WORKERS && r == 0; i++) {
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

int workers_new(struct event_base *base, struct workers **workers_out)
{
    struct workers *workers = calloc(1, sizeof(*workers));
    if (!workers)
        return -ENOMEM;
    int r = -ENOMEM;
    pthread_mutex_init(&workers->lock, NULL);
    for (int i = 0; i < WORKER_N_URGENCIES; i++)
        list_init(&workers->queues[i]);
    list_init(&workers->finished);
    list_init(&workers->to_be_done);
    workers->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (workers->done_fd < 0) {
        r = -errno;
        goto out;
    }
    workers->done_event = event_new(base, workers->done_fd, EV_READ | EV_PERSIST, on_done, workers);
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

/* Under lock. As finish(). */
static bool cancel(struct workers *workers, struct worker_job *job)
{
    list_remove(&job->link);
    job->queued = false;
    job->cancelled = true;
    return finish(workers, job);
}

void workers_cancel(struct workers *workers, struct worker_job *job)
{
    pthread_mutex_lock(&workers->lock);
    bool tell = job->queued && cancel(workers, job);
    pthread_mutex_unlock(&workers->lock);
    if (tell)
        report_finished(workers);
}

static void cancel_background(struct workers *workers)
{
    struct list *queue = &workers->queues[WORKER_BACKGROUND];
    list_for_each_safe(it, queue)
    {
        cancel(workers, list_entry(it, struct worker_job, link));
    }
}

void workers_free(struct workers *workers)
{
    if (!workers)
        return;
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    cancel_background(workers);
    struct worker *asleep;
    while ((asleep = rouse(workers, WORKER_URGENT)))
        sem_post(&asleep->wake);
    pthread_mutex_unlock(&workers->lock);
    for (size_t i = 0; i < N_WORKERS; i++) {
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
    job->cancelled = false;
    pthread_mutex_lock(&workers->lock);
    if (workers->stopping) {
        /* From a done() while workers_free() winds up: no thread is left to hand it to. */
        pthread_mutex_unlock(&workers->lock);
        job->cancelled = urgency == WORKER_BACKGROUND;
        if (!job->cancelled)
            job->run(job);
        pthread_mutex_lock(&workers->lock);
        list_push_back(&workers->finished, &job->link);
        pthread_mutex_unlock(&workers->lock);
        return;
    }
    job->queued = true;
    list_push_back(&workers->queues[urgency], &job->link);
    struct worker *asleep = rouse(workers, urgency);
    pthread_mutex_unlock(&workers->lock);
    if (asleep)
        sem_post(&asleep->wake);
}
