/*
 * Fair shares of the fresh stock: no user takes all of it while others ask.
 *
 * Who has asked of late is on the list, with what it asked for and what it took, both fading by an
 * eighth a second. A user that asks alone may take everything. Where several do, each has a claim
 * to an equal share of what was there to take, though to no more than twice what it asks for and a
 * SuperSlab; and one takes more than that only of what the others' claims leave. Who is refused is
 * served cold.
 *
 * Invariant: a user is on the list from its first question until it has been quiet and its figures
 * have faded, or the list is full and it has been there longest; meanwhile the list holds a
 * reference to it. Loop thread only.
 */
#ifndef HAKMEMD_FAIRSHARE_H
#define HAKMEMD_FAIRSHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/quota.h"

struct fairshare {
    struct list takers; /* quota_user.taker_link */
    unsigned n_takers;
};

void fairshare_init(struct fairshare *fairshare);
void fairshare_deinit(struct fairshare *fairshare);

/* The user asks for n_bytes of the fresh stock. */
void fairshare_note_asked(struct fairshare *fairshare, struct quota_user *user, uint64_t n_bytes);
/* May it have so much, of stock_bytes that are there? It must have asked. */
bool fairshare_permits(const struct fairshare *fairshare, const struct quota_user *user,
                       uint64_t n_bytes, uint64_t stock_bytes);
/* It took so much. */
void fairshare_note_taken(struct fairshare *fairshare, struct quota_user *user, uint64_t n_bytes);
/* A second is over. */
void fairshare_fade(struct fairshare *fairshare);

#endif
