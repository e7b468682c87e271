/*
 * Surplus: the free private SuperSlabs that a program is not likely to want again soon. They go at
 * the free that makes them too many.
 *
 * Other free memory goes by the clock: leased memory by the daemon's, private memory at slow paths
 * once a second (source.c). A program that frees much and then sleeps comes to none. So what is
 * free, private and was used may be so much: a little, as much as four blocks like the largest one
 * that it freed, a share of what is in use, and what this program has been seen to want again
 * within the second after it went. Beyond that it goes, in batches, so that a heap that is freed
 * bit by bit costs few calls.
 *
 * What is wanted again so soon is added, twice, to what may stay: a heap that swings pays the
 * faults of one swing, not of each. It stays as long as that much is free from time to time, and
 * then comes down.
 *
 * All under source.c's lock.
 *
 * Place in the life of a SuperSlab: emptied, warm -> purged, cold.
 */
#ifndef HAKMEM_LIBCLIENT_SURPLUS_H
#define HAKMEM_LIBCLIENT_SURPLUS_H

#include <stdbool.h>
#include <stdint.h>

/* So many more are warm now. True: there may be a surplus. */
bool surplus_note_released(uint32_t n_slabs);

/* Lets go of it, of a bounded part of what is free, or finds that there is none. Signals blocked.
 */
void surplus_purge(void);

/* Once a second, before private_purge() goes by age: looks at what was wanted again. */
void surplus_age(uint32_t now_s);

/* How many may be free now, in SuperSlabs; and of these for what was wanted again. */
uint32_t surplus_limit(void);
uint32_t surplus_regretted(void);

#endif
