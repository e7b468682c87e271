/*
 * Leased SuperSlabs: what the program asks the daemon for and when, and what it returns.
 *
 * link.c speaks the protocol and extents.c maps; here is the policy: how much at a time, ahead of
 * need, and which extents are worth nothing any more. All under source.c's lock, signals blocked.
 *
 * Place in the life of a SuperSlab: leased -> warm; reclaimed -> returned.
 */
#ifndef HAKMEM_LIBCLIENT_LEASES_H
#define HAKMEM_LIBCLIENT_LEASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is leased now and was at most, in bytes, and how many extents came in. To be read by
 * source.c, and set to 0 by its fork. */
struct leases {
    size_t bytes, peak_bytes;
    uint64_t count;
    uint64_t unmappable; /* came, could not be mapped, and went back */
};

extern struct leases leases __attribute__((visibility("hidden")));

/*
 * How many SuperSlabs to lease next, for a program that holds so many, and when: as soon as no more
 * than the low water are left unused. That is the tail, what a program holds and does not use: from
 * 50 MiB on at most a twelfth. docs/architecture.md has what else was tried.
 */
uint32_t leases_step(uint32_t n_held);
uint32_t leases_low_water(uint32_t n_held);

/* May the daemon be asked at all? */
bool leases_may_ask(void);

/* Asks for at least `n_slabs` in a row, and waits for the bounded time if `wait`. True: something
 * has come in, look again. */
bool leases_ask(uint32_t n_slabs, bool wait);

/*
 * The same for a block that no extent fits: one of 10 SuperSlabs from extents of 8 and 2, side by
 * side, where one of 16 would leave 6 unused. Waits. False: nothing has come, or it is better
 * served by a single extent.
 */
bool leases_ask_in_pieces(uint32_t n_slabs);
/* Of how many at the least each extent may be, so that two or three make up *n_whole, which is
 * n_slabs and at most a ninth of that. */
uint32_t leases_piece(uint32_t n_slabs, uint32_t *n_whole);

/* Takes in what has come by now, of itself or asked for before. */
void leases_collect(void);

/*
 * From one to the other nothing is asked for nor taken in: it would be shared with a child that is
 * about to be forked. Counted, as threads may fork at the same time; in a child the only one is its
 * own. Any thread, no lock needed.
 */
void leases_suspend(void);
void leases_resume(bool is_child);

/* Asks ahead of need, without waiting, if there is little left. */
bool leases_look_ahead_is_due(void);
void leases_look_ahead(void);

/* Is so much reclaimed memory lying about that it should be used before more is leased? */
bool leases_have_much_cold(void);

/*
 * Returns extents that are free as a whole and worth nothing any more: all reclaimed, or copied at
 * a fork, or from a daemon that is gone. At most `n_wanted` SuperSlabs of reclaimed ones; the
 * others always. Bytes returned.
 */
size_t leases_return(uint32_t n_wanted);

#endif
