/* See turn.h. */
#include "hakmemd/turn.h"

#include <stdbool.h>
#include <sys/resource.h>

#include "hakmemd/clock.h"

/* Between two callbacks of one round libevent does next to nothing; more means that it was back at
 * its events. */
#define SAME_ROUND_NS 5000
#define SHORT_NS      ((uint64_t)TURN_SHORT_US * 1000)
#define LATE_NS       ((uint64_t)TURN_LATE_US * 1000)

static struct {
    uint64_t began_ns; /* the round */
    uint64_t began_cpu_ns;
    long n_began_sleeps;
    uint64_t ended_ns; /* its last callback */
    unsigned n_callbacks;
    bool is_in_callback;
    bool is_counted; /* as a late one */
    struct turn_figures figures;
} turn;

/* Of this thread. (rusage's times are as of the last tick of the scheduler.) */
static uint64_t cpu_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Times that this thread went to sleep by its own will. */
static long count_sleeps(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

void turn_begin(void)
{
    uint64_t now_ns = clock_now_ns();
    turn.is_in_callback = true;
    if (turn.n_callbacks++ == 0 || turn.n_callbacks > TURN_MAX_CALLBACKS ||
        now_ns - turn.ended_ns > SAME_ROUND_NS || turn.ended_ns - turn.began_ns > SHORT_NS) {
        turn.began_ns = now_ns;
        turn.n_callbacks = 1;
        turn.is_counted = false;
        turn.began_cpu_ns = cpu_now_ns();
        turn.n_began_sleeps = count_sleeps();
    }
}

/*
 * What of it was our own doing: time on a processor; all of it, if the loop went to sleep in it, as
 * for a lock. The rest it was ready to run, and the host ran somebody else.
 */
static uint64_t own_ns(uint64_t away_ns)
{
    if (count_sleeps() != turn.n_began_sleeps)
        return away_ns;
    uint64_t on_cpu_ns = cpu_now_ns() - turn.began_cpu_ns;
    return on_cpu_ns < away_ns ? on_cpu_ns : away_ns;
}

void turn_end(void)
{
    struct turn_figures *figures = &turn.figures;
    turn.is_in_callback = false;
    turn.ended_ns = clock_now_ns();
    uint64_t away_ns = turn.ended_ns - turn.began_ns;
    if (away_ns > figures->longest_us * 1000)
        figures->longest_us = away_ns / 1000;
    /* (Little time away needs no closer look.) */
    if (away_ns <= LATE_NS / 4 || turn.is_counted)
        return;
    uint64_t ns = own_ns(away_ns);
    if (ns > figures->longest_own_us * 1000)
        figures->longest_own_us = ns / 1000;
    if (away_ns > LATE_NS) {
        figures->n_late++;
        figures->n_late_own += ns > LATE_NS;
        turn.is_counted = true;
    }
}

bool turn_has_time(void)
{
    return !turn.is_in_callback || clock_now_ns() - turn.began_ns <= SHORT_NS;
}

struct turn_figures turn_figures(void)
{
    return turn.figures;
}
