/*
 * Turns: how long the event loop is away from its events. Each callback says when it begins and
 * when it ends; those of one round of the loop count together, since whoever else becomes ready
 * meanwhile waits for all of them.
 *
 * A round has at most TURN_MAX_CALLBACKS callbacks, and none is begun once TURN_SHORT_US have
 * passed: the loop then looks who else is there (the server sets libevent up so). Nor does a
 * callback that has several things to do begin another of them then: it asks turn_has_time(). So a
 * round is as long as that and one more thing, the longest of which is a Hello's answer. State of
 * the process, like the log: there is one loop. Loop thread only.
 */
#ifndef HAKMEMD_TURN_H
#define HAKMEMD_TURN_H

#include <stdbool.h>
#include <stdint.h>

#define TURN_MAX_CALLBACKS 16
#define TURN_SHORT_US      200
/* Longer than this, and somebody's request has waited noticeably. */
#define TURN_LATE_US 1000

void turn_begin(void);
void turn_end(void);
/* In a callback, before each thing but the first: may it be begun, or should it wait for the next
 * round? Outside of one (a test, the end of the daemon): yes. */
bool turn_has_time(void);

/* Since the start. A host with more to do than processors keeps the loop waiting for one: "own" is
 * what the loop spent at work or asleep in a round, without that. */
struct turn_figures {
    uint64_t longest_us;
    uint64_t longest_own_us; /* 0: none was longer than a quarter of TURN_LATE_US */
    uint64_t n_late;         /* longer than TURN_LATE_US */
    uint64_t n_late_own;
};

struct turn_figures turn_figures(void);

#endif
