/*
 * worker.c: jobs are run by urgency and reported once each, none is lost between a worker that goes
 * to sleep and a loop that submits, and the loop takes no lock that a worker could hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <event2/event.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <unistd.h>

#include "common/atomic.h"
#include "hakmemd/worker.h"

#define N_WORKERS  2
#define WAIT_S     60 /* a test, at most */
#define N_JOBS_MAX 1000

#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif

/* ---- who takes locks ---- */

#ifndef HAS_TSAN /* which has its own */
static _Thread_local unsigned n_locks;

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    static int (*next)(pthread_mutex_t * mutex);
    if (!next)
        *(void **)(void *)&next = dlsym(RTLD_NEXT, "pthread_mutex_lock");
    n_locks++;
    return next(mutex);
}
#endif

/* ---- a loop, workers and jobs ---- */

struct job {
    struct worker_job job;
    struct fixture *fixture;
    sem_t *gate;     /* run() waits for it; or NULL */
    unsigned ran_as; /* the how manieth; 0: not */
    unsigned n_done;
    bool was_cancelled;
};

struct fixture {
    struct event_base *base;
    struct workers *workers;
    struct job jobs[N_JOBS_MAX];
    unsigned n_ran;  /* atomic */
    unsigned n_done; /* the loop's */
    sem_t begun;     /* a job with a gate has */
};

static void run(struct worker_job *base)
{
    struct job *job = (struct job *)(void *)base;
    if (job->gate) {
        sem_post(&job->fixture->begun);
        sem_wait(job->gate);
    }
    job->ran_as = atomic_add_relaxed(&job->fixture->n_ran, 1u);
}

static void done(struct worker_job *base)
{
    struct job *job = (struct job *)(void *)base;
    job->n_done++;
    job->was_cancelled = base->cancelled;
    job->fixture->n_done++;
}

static int set_up(void **state)
{
    struct fixture *fixture = test_calloc(1, sizeof(*fixture));
    fixture->base = event_base_new();
    sem_init(&fixture->begun, 0, 0);
    assert_int_equal(workers_new(fixture->base, N_WORKERS, &fixture->workers), 0);
    *state = fixture;
    alarm(WAIT_S);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    workers_free(fixture->workers);
    event_base_free(fixture->base);
    sem_destroy(&fixture->begun);
    test_free(fixture);
    return 0;
}

static struct job *submit(struct fixture *fixture, unsigned index, sem_t *gate,
                          enum worker_urgency urgency)
{
    struct job *job = &fixture->jobs[index];
    *job = (struct job){.job = {.run = run, .done = done}, .fixture = fixture, .gate = gate};
    workers_submit(fixture->workers, &job->job, urgency);
    return job;
}

/* A job that is lost ends the test by SIGALRM. */
static void wait_done(struct fixture *fixture, unsigned n)
{
    while (fixture->n_done < n)
        event_base_loop(fixture->base, EVLOOP_ONCE);
}

/* Keeps all workers busy until the gate is opened for each. */
static void occupy(struct fixture *fixture, sem_t *gate)
{
    for (unsigned i = 0; i < N_WORKERS; i++) {
        /* One of the two takes no background jobs, and none takes a second one. */
        submit(fixture, i, gate, WORKER_PROMPT);
        sem_wait(&fixture->begun);
    }
}

static void open_gate(sem_t *gate)
{
    for (unsigned i = 0; i < N_WORKERS; i++)
        sem_post(gate);
}

/* ---- tests ---- */

static void test_by_urgency(void **state)
{
    struct fixture *fixture = *state;
    sem_t gate;
    sem_init(&gate, 0, 0);
    occupy(fixture, &gate);
    struct job *background = submit(fixture, 2, NULL, WORKER_BACKGROUND);
    struct job *urgent = submit(fixture, 3, NULL, WORKER_URGENT);
    struct job *later = submit(fixture, 4, NULL, WORKER_URGENT);
    struct job *prompt = submit(fixture, 5, NULL, WORKER_PROMPT);
    submit(fixture, 6, &gate, WORKER_PROMPT);
    /* One goes on, to the next one that waits at the gate. */
    sem_post(&gate);
    sem_wait(&fixture->begun);
    assert_int_equal(prompt->ran_as, 2);
    assert_true(urgent->ran_as == 0 && later->ran_as == 0 && background->ran_as == 0);
    /* One of the two, and nothing holds it any more. */
    sem_post(&gate);
    wait_done(fixture, 5);
    assert_true(urgent->ran_as > 0 && urgent->ran_as < later->ran_as);
    sem_post(&gate);
    wait_done(fixture, 7);
    assert_true(background->ran_as > later->ran_as);
    sem_destroy(&gate);
}

static void test_cancel(void **state)
{
    struct fixture *fixture = *state;
    sem_t gate;
    sem_init(&gate, 0, 0);
    occupy(fixture, &gate);
    struct job *waiting = submit(fixture, 2, NULL, WORKER_URGENT);
    struct job *other = submit(fixture, 3, NULL, WORKER_URGENT);
    workers_cancel(fixture->workers, &waiting->job);
    workers_cancel(fixture->workers, &fixture->jobs[0].job); /* begun already */
    open_gate(&gate);
    wait_done(fixture, 4);
    assert_true(waiting->was_cancelled);
    assert_int_equal(waiting->ran_as, 0);
    assert_int_equal(waiting->n_done, 1);
    assert_false(other->was_cancelled);
    assert_true(other->ran_as > 0);
    assert_false(fixture->jobs[0].was_cancelled);
    /* The same job again. */
    submit(fixture, 2, NULL, WORKER_URGENT);
    wait_done(fixture, 5);
    assert_true(waiting->ran_as > 0);
    sem_destroy(&gate);
}

/* Each worker has gone to sleep, or is about to, when the next job comes. */
static void test_none_is_lost(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 20 * N_JOBS_MAX; i++) {
        submit(fixture, 0, NULL, (enum worker_urgency)(i % WORKER_N_URGENCIES));
        wait_done(fixture, i + 1);
        assert_int_equal(fixture->jobs[0].n_done, 1);
    }
}

static void test_many_at_once(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < N_JOBS_MAX; i++)
        submit(fixture, i, NULL, (enum worker_urgency)(i % WORKER_N_URGENCIES));
    wait_done(fixture, N_JOBS_MAX);
    for (unsigned i = 0; i < N_JOBS_MAX; i++) {
        assert_int_equal(fixture->jobs[i].n_done, 1);
        assert_true(fixture->jobs[i].ran_as > 0);
    }
}

/* What nobody has asked for is dropped, what is wanted back is seen to. */
static void test_stopping(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < N_JOBS_MAX; i++)
        submit(fixture, i, NULL, i % 2 ? WORKER_URGENT : WORKER_BACKGROUND);
    workers_free(fixture->workers);
    fixture->workers = NULL;
    for (unsigned i = 0; i < N_JOBS_MAX; i++) {
        const struct job *job = &fixture->jobs[i];
        assert_int_equal(job->n_done, 1);
        assert_int_equal(job->was_cancelled, job->ran_as == 0);
        assert_true(i % 2 == 0 || !job->was_cancelled);
    }
}

/* A worker is of lower priority and may be off its processor with whatever lock it has. */
static void test_loop_takes_no_lock(void **state)
{
#ifdef HAS_TSAN
    (void)state;
    skip();
#else
    struct fixture *fixture = *state;
    n_locks = 0;
    for (unsigned i = 0; i < N_JOBS_MAX; i++) {
        struct job *job = submit(fixture, i, NULL, (enum worker_urgency)(i % WORKER_N_URGENCIES));
        if (i % 4 == 0)
            workers_cancel(fixture->workers, &job->job);
    }
    wait_done(fixture, N_JOBS_MAX);
    assert_int_equal(n_locks, 0);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_urgency, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_none_is_lost, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_loop_takes_no_lock, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
