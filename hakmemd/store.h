/*
 * What outlives the daemon: the descriptors that the service manager keeps for it, and the table
 * that says what they are. docs/restart.md explains it.
 *
 * The manager's descriptor store (FDSTORE=1) holds a copy of each leased extent's D, of each
 * client's ledger, and of the table's own memfd. The table is the truth, and is written before
 * anything that it records can be seen outside: so it is right at every instant, also at that of a
 * SIGKILL. A descriptor follows once its lease has lasted for restart.store_after_ms, or at the
 * daemon's end; a record without its descriptor is a lease of which only the slots are known.
 *
 * Invariants: an index that is not free is of one entry, whose descriptor the manager knows under
 * the index's name or not at all; a name is given again only after its removal was sent. Record 0
 * is the table's head, index 0 therefore none.
 *
 * Without a manager that offers a store ($NOTIFY_SOCKET and $FDSTORE) everything here does nothing.
 * Knows nothing of clients and extents. Loop thread only.
 */
#ifndef HAKMEMD_STORE_H
#define HAKMEMD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/stats.h"

struct event;
struct event_base;

#define STORE_TOKEN_BYTES 16
/* Descriptors, the table's own included; every index is below it. */
#define STORE_CAPACITY 16384u

enum store_kind {
    STORE_NOTHING,
    STORE_CLIENT,
    STORE_LEASE,  /* an extent in a client's hands */
    STORE_ORPHAN, /* an extent that its client let go of, not proved free as yet */
};

/* A contract between releases, like the ledger: a daemon finds it as another version wrote it. */
struct store_record {
    uint32_t kind;  /* enum store_kind; written last */
    uint32_t owner; /* LEASE: the index of its client's record */
    uint64_t inode; /* of the descriptor */
    uint64_t id;    /* the client's or the extent's */
    uint64_t owner_id;
    uint32_t uid;
    uint32_t pid;
    uint32_t n_slots; /* CLIENT: of its ledger. Else: the extent's SuperSlabs */
    uint32_t first_slot;
    uint32_t huge_slabs;
    uint32_t backing;
    uint64_t connected_ms;
    unsigned char token[STORE_TOKEN_BYTES];
    uint32_t node_plus_one; /* the extent's, by the kernel's number; 0: not told, as of old */
    uint32_t reserved_32;
    uint64_t reserved[5];
};

/* Embedded in what is to outlive the daemon. Zeroed: not in the table. */
struct store_entry {
    struct list link; /* store.waiting */
    uint32_t index;
    int fd; /* while it waits */
    bool is_waiting;
    bool owns_fd;
    uint64_t due_ms;
};

#define STORE_N_TOKENS 16

struct store {
    struct stats *stats;
    bool is_on;
    bool is_frozen;
    struct store_table *table;
    int table_fd;
    struct event *timer;
    struct list waiting; /* store_entry.link, those due first in front */
    uint64_t after_ms;   /* restart.store_after_ms */
    uint32_t n_indices;
    uint32_t *free; /* a stack of them */
    uint32_t n_free;
    uint32_t *removals; /* a ring: names that the manager is to be told to drop */
    uint32_t first_removal, n_removals;
    unsigned char tokens[STORE_N_TOKENS][STORE_TOKEN_BYTES]; /* random, and not used yet: */
    unsigned n_tokens;
    int *passed; /* by index, until store_finish_adoption(): what the manager has passed to us */
};

/* What the manager passed to this process; names and descriptors are the array's. */
struct store_passed {
    int *fds; /* -1: taken */
    char **names;
    size_t n;
};

/*
 * Turns the store on if there is a manager that offers one, and takes what an earlier daemon left
 * there out of `passed`; what cannot be used is closed, and the manager told so. 0 or a negative
 * errno. Works off what is to be sent from the loop.
 */
int store_init(struct store *store, uint64_t after_ms, struct store_passed *passed,
               struct event_base *base, struct stats *stats);
/* Never initialised: does nothing. */
void store_deinit(struct store *store);

/* ---- what is found at start; between store_init() and store_finish_adoption() ---- */

/* The next record after *index (0 to begin with), copied, and its descriptor, borrowed, or -1: it
 * is not there. False: no more. */
bool store_next(struct store *store, uint32_t *index, struct store_record *record_out, int *fd_out);
/* The record of this index goes on as the entry's. Its descriptor is the caller's. */
void store_keep(struct store *store, uint32_t index, struct store_entry *entry);
/* Closes and forgets what nobody has kept. */
void store_finish_adoption(struct store *store);

/* ---- what is done at work ---- */

static inline bool store_is_on(const struct store *store)
{
    return store && store->is_on && !store->is_frozen;
}

/* For ids that stay unique over restarts: never the same twice, never 0. */
uint64_t store_next_client_id(struct store *store);
uint64_t store_last_extent_id(const struct store *store);

/* Random bytes that nobody can guess. False: there are none. */
bool store_make_token(struct store *store, unsigned char token[STORE_TOKEN_BYTES]);

/*
 * Records it, and sends its descriptor when it is due: owned by the store and closed then, or
 * borrowed until store_drop(). The descriptor's inode is looked up if the record does not say it.
 * False: the store is off, or the table is full (counted).
 */
bool store_add(struct store *store, struct store_entry *entry, const struct store_record *record,
               int fd, bool owns_fd);
/* Something else holds of it from now on. An entry that is not in the table stays so. */
void store_change(struct store *store, struct store_entry *entry,
                  const struct store_record *record);
/* Nothing holds of it for now; its descriptor may stay in the store, for a next lease. */
void store_blank(struct store *store, struct store_entry *entry);
/* The end of it, also for the manager. Accepts an entry that is not in the table. */
void store_drop(struct store *store, struct store_entry *entry);

/*
 * Before the daemon ends in good order: sends what waits and gives the manager time to take it, two
 * seconds at most; from then on the table and the store stay as they are, whatever is dropped.
 */
void store_freeze(struct store *store);

#endif
