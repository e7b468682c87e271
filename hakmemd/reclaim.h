/*
 * Reclaim: taking the pages of IDLE SuperSlabs back from living clients, who make no system call
 * for it.
 *
 * A round looks at the state word of each leased SuperSlab. A word that has been IDLE and unchanged
 * for reclaim.idle_ms is changed to RECLAIMING, its pages are punched on a worker, and it becomes
 * RECLAIMED. The client's mapping stays.
 *
 * Invariants: a SuperSlab is punched only between a successful change of its word to RECLAIMING and
 * the change on; never one that is ACTIVE or PINNED. A client whose connection ends has no punch in
 * flight when its socket is closed or its extents go on: client_end() waits. A ledger's words are
 * hostile: any value may be found at any time.
 *
 * What a round sees of all clients together and of each is remembered, to be shown: whoever asks
 * for figures has a round made. A round of many clients, or of one with many extents, goes in
 * slices of the loop's time.
 *
 * A timer runs only while somebody leases something, and slower while nobody has anything idle.
 * Loop thread only.
 */
#ifndef HAKMEMD_RECLAIM_H
#define HAKMEMD_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/client.h"

struct event;
struct event_base;

/* What a whole round has seen. */
struct reclaim_figures {
    struct client_usage usage; /* of all clients together; of each, in client.usage */
    uint64_t handed_over_bytes;
};

struct reclaim {
    uint64_t idle_ms;     /* reclaim.idle_ms */
    uint64_t age_ms;      /* the age in force: less than idle_ms under pressure */
    struct list *clients; /* leases.clients; scanned ones move to its back */
    struct stats *stats;
    struct event *timer;
    unsigned round; /* which one this is; a client says which it was last looked at in */
    bool is_in_round;
    unsigned n_mapping;     /* ledgers, in this slice */
    unsigned n_quiet;       /* rounds in a row in which nothing was idle */
    bool something_is_idle; /* in this round */
    bool is_asked_for;      /* this round: it says nothing of how often one is needed */
    bool is_by_hand;        /* this round: whatever is IDLE, however young */
    bool wants_another;     /* to begin when this one is over */
    bool wants_by_hand;     /* the next one */
    struct reclaim_figures so_far;
    struct reclaim_figures figures; /* of the last round; bytes handed over: of the last by hand */
    void (*on_round)(void *data);   /* called at the end of each, or NULL */
    void *on_round_data;
};

/* 0 or -ENOMEM. `clients` is borrowed. */
int reclaim_init(struct reclaim *reclaim, uint64_t idle_ms, struct event_base *base,
                 struct list *clients, struct stats *stats);
void reclaim_deinit(struct reclaim *reclaim);

/* Something was leased: there is something to watch. */
void reclaim_watch(struct reclaim *reclaim);

/* How old IDLE memory may get from now on. */
void reclaim_set_age(struct reclaim *reclaim, uint64_t age_ms);

/*
 * Has all clients looked at anew, by hand: with everything IDLE handed to the puncher, whatever its
 * age. The number of the round that does it, to be shown to reclaim_has_looked(); some of it, if
 * not all, is done at once, as there is time.
 */
unsigned reclaim_look(struct reclaim *reclaim, bool by_hand);
/* Is that round over? Then `figures` are of it, or of a later one. */
bool reclaim_has_looked(const struct reclaim *reclaim, unsigned round);

/* Looks at one client now: IDLE words unchanged for age_ms are handed to the puncher. Bytes handed
 * over. */
uint64_t reclaim_scan_client(struct reclaim *reclaim, struct client *client, uint64_t age_ms);

#endif
