/* See punchers.h. */
#include "hakmemd/punchers.h"

#include <errno.h>
#include <event2/event.h>
#include <stddef.h>

#include "hakmemd/clock.h"
#include "hakmemd/turn.h"

/* A punch of 16 SuperSlabs of small pages takes some milliseconds. What has taken from one look to
 * the next will not come to an end by itself. */
#define CHECK_MS 2000
/* At the daemon's end. */
#define END_MS 3000

static void schedule(struct punchers *punchers)
{
    struct timeval wait = clock_timeval(punchers->check_ms);
    if (!evtimer_pending(punchers->timer, NULL)) {
        struct list *first = list_first(&punchers->in_flight);
        punchers->first = first ? list_entry(first, struct punch, link) : NULL;
        punchers->n_done_then = punchers->n_done;
        evtimer_add(punchers->timer, &wait);
    }
}

/* A free place in `stuck`, or -1. Those that have come free end. True in `any_out`: some have not.
 */
static int see_to_stuck(struct punchers *punchers, bool *any_out)
{
    int free_place = -1;
    *any_out = false;
    for (int i = 0; i < PUNCHERS_N_STUCK_MAX; i++) {
        if (punchers->stuck[i] && !punchers->stuck_in[i]) {
            workers_free(punchers->stuck[i]);
            punchers->stuck[i] = NULL;
        }
        if (punchers->stuck[i])
            *any_out = true;
        else
            free_place = i;
    }
    return free_place;
}

/* Calls off what has not been begun of a user's. */
static void call_off(struct punchers *punchers, const unsigned *n_stuck)
{
    list_for_each(it, &punchers->in_flight)
    {
        struct punch *punch = list_entry(it, struct punch, link);
        if (punch->n_stuck == n_stuck)
            workers_cancel(punchers->workers, &punch->job);
    }
}

static void leave_to_it(struct punchers *punchers, struct punch *punch, int place)
{
    static struct log_limit limit;
    struct workers *others;
    uint64_t n_suppressed;
    if (workers_new(punchers->base, 1, &others) < 0)
        return;
    list_remove(&punch->link);
    punch->is_stuck = true;
    ++*punch->n_stuck;
    call_off(punchers, punch->n_stuck);
    workers_move_waiting(punchers->workers, others);
    punchers->stuck[place] = punchers->workers;
    punchers->stuck_in[place] = punch;
    punchers->workers = others;
    if (log_limit_pass(&limit, &n_suppressed))
        log_warning(&punch->subject, "a punch does not come to its end: it holds the file's lock");
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct punchers *punchers = data;
    bool any_stuck;
    turn_begin();
    int place = see_to_stuck(punchers, &any_stuck);
    struct list *first = list_first(&punchers->in_flight);
    struct punch *punch = first ? list_entry(first, struct punch, link) : NULL;
    if (punch && place >= 0 && punch == punchers->first &&
        punchers->n_done == punchers->n_done_then)
        leave_to_it(punchers, punch, place);
    if (any_stuck || !list_is_empty(&punchers->in_flight) || (punch && punch->is_stuck))
        schedule(punchers);
    turn_end();
}

void punchers_submit(struct punchers *punchers, struct punch *punch, unsigned *n_stuck)
{
    punch->n_stuck = n_stuck;
    punch->is_stuck = false;
    list_push_back(&punchers->in_flight, &punch->link);
    workers_submit(punchers->workers, &punch->job, WORKER_URGENT);
    schedule(punchers);
}

void punchers_note_done(struct punchers *punchers, struct punch *punch)
{
    punchers->n_done++;
    list_remove(&punch->link);
    if (!punch->is_stuck)
        return;
    punch->is_stuck = false;
    --*punch->n_stuck;
    for (int i = 0; i < PUNCHERS_N_STUCK_MAX; i++)
        if (punchers->stuck_in[i] == punch)
            punchers->stuck_in[i] = NULL;
}

int punchers_init(struct punchers *punchers, struct event_base *base)
{
    *punchers = (struct punchers){.base = base, .check_ms = CHECK_MS};
    list_init(&punchers->in_flight);
    punchers->timer = evtimer_new(base, on_timer, punchers);
    return punchers->timer ? workers_new(base, 1, &punchers->workers) : -ENOMEM;
}

bool punchers_deinit(struct punchers *punchers)
{
    if (!punchers->timer)
        return true;
    bool are_done = workers_stop_within(punchers->workers, END_MS);
    for (int i = 0; i < PUNCHERS_N_STUCK_MAX && are_done; i++)
        are_done = workers_stop_within(punchers->stuck[i], END_MS);
    if (!are_done)
        return false;
    workers_free(punchers->workers);
    for (int i = 0; i < PUNCHERS_N_STUCK_MAX; i++)
        workers_free(punchers->stuck[i]);
    event_free(punchers->timer);
    punchers->timer = NULL;
    return true;
}
