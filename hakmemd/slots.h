/*
 * Which slots of one client's ledger are taken. An extent takes a run of as many slots as it has
 * SuperSlabs, aligned to its own size, so that runs never fragment into uselessness. The daemon's
 * own memory: the client cannot touch it.
 */
#ifndef HAKMEMD_SLOTS_H
#define HAKMEMD_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

struct slots;

/* NULL: out of memory. */
struct slots *slots_new(uint32_t n_slots);
/* Accepts NULL. */
void slots_free(struct slots *slots);

/* Is there a free run of `n` slots (1, 2, 4, 8 or 16)? */
bool slots_have_run(struct slots *slots, uint32_t n);
/* Takes one, or LEDGER_SLOT_NONE. */
uint32_t slots_acquire(struct slots *slots, uint32_t n);
/* Takes just this run. False: it is no run of these slots, or not free as a whole. */
bool slots_acquire_at(struct slots *slots, uint32_t first, uint32_t n);
void slots_return(struct slots *slots, uint32_t first, uint32_t n);

#endif
