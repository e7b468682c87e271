/*
 * Turns: how long the event loop is away from its events. Each callback says when it begins and
 * when it ends; those of one round of the loop count together, since whoever else becomes ready
 * meanwhile waits for all of them.
 *
 * A round has at most TURN_MAX_CALLBACKS callbacks: the loop then looks who else is there (the
 * server sets libevent up so). State of the process, like the log: there is one loop. Loop thread
 * only.
 */
#ifndef HAKMEMD_TURN_H
#define HAKMEMD_TURN_H

#include <stdint.h>

#define TURN_MAX_CALLBACKS 16
/* Longer than this, and somebody's request has waited noticeably. */
#define TURN_LATE_US 1000

void turn_begin(void);
void turn_end(void);

/* The longest so far, and how many were longer than TURN_LATE_US. */
uint64_t turn_longest_us(void);
uint64_t turn_n_late(void);

#endif
