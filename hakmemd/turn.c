/* See turn.h. */
#include "hakmemd/turn.h"

#include "hakmemd/clock.h"

/* Between two callbacks of one round libevent does next to nothing; more means that it was back at
 * its events. */
#define SAME_ROUND_NS 5000

static struct {
    uint64_t began_ns; /* the round */
    uint64_t ended_ns; /* its last callback */
    unsigned n_callbacks;
    uint64_t longest_ns;
    uint64_t n_late;
} turn;

void turn_begin(void)
{
    uint64_t now_ns = clock_now_ns();
    if (turn.n_callbacks++ == 0 || turn.n_callbacks > TURN_MAX_CALLBACKS ||
        now_ns - turn.ended_ns > SAME_ROUND_NS) {
        turn.began_ns = now_ns;
        turn.n_callbacks = 1;
    }
}

void turn_end(void)
{
    turn.ended_ns = clock_now_ns();
    uint64_t away_ns = turn.ended_ns - turn.began_ns;
    if (away_ns > turn.longest_ns)
        turn.longest_ns = away_ns;
    if (away_ns > (uint64_t)TURN_LATE_US * 1000) {
        turn.n_late++;
        turn.n_callbacks = 0; /* counted once */
    }
}

uint64_t turn_longest_us(void)
{
    return turn.longest_ns / 1000;
}

uint64_t turn_n_late(void)
{
    return turn.n_late;
}
