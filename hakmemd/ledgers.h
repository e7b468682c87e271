/*
 * Ledgers, made ahead and taken down behind, on workers. Mapping and unmapping take the lock of the
 * daemon's address space, which a worker may hold for long while it makes pages: the loop must not
 * wait for that when somebody says Hello.
 *
 * Invariant: `spares` are of `n_slots` slots each, untouched since their making. Loop thread only.
 */
#ifndef HAKMEMD_LEDGERS_H
#define HAKMEMD_LEDGERS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ledger.h"
#include "common/list.h"
#include "hakmemd/store.h"
#include "hakmemd/worker.h"

struct ledgers {
    struct workers *workers;
    struct store *store; /* borrowed; may be off */
    struct list spares;  /* ledger_mapping.link */
    uint32_t n_slots;    /* of the spares: what was asked for last */
    unsigned n_spares;   /* those being made included */
    bool stopping;
    void (*on_ready)(void *data); /* a spare is there, or one could not be made; or NULL */
    void *on_ready_data;
};

/* One client's ledger. */
struct ledger_mapping {
    struct list link; /* ledgers.spares */
    struct worker_job job;
    struct ledgers *ledgers;
    struct ledger *ledger; /* NULL: could not be mapped */
    uint32_t n_slots;
    int fd; /* -1: not there, or taken */
};

void ledgers_init(struct ledgers *ledgers, struct workers *workers, struct store *store);
/* Frees the spares. Before workers_free(). */
void ledgers_deinit(struct ledgers *ledgers);

/* Will ledgers_take() have one at hand? False: one is being made; on_ready() will be called. */
bool ledgers_are_ready(struct ledgers *ledgers, uint32_t n_slots);

/*
 * A ledger of `n_slots` slots, all zero but for n_slots, magic and abi_version; made on the spot,
 * which may mean waiting, if none is at hand. Its descriptor is the caller's: to be sent, and
 * closed. 0 or a negative errno.
 */
int ledgers_take(struct ledgers *ledgers, uint32_t n_slots, int *fd_out,
                 struct ledger_mapping **mapping_out);
/* An earlier daemon's ledger, mapped; borrows `fd`. 0, -EINVAL (it is no ledger of so many slots),
 * or another negative errno. */
int ledgers_adopt(struct ledgers *ledgers, int fd, uint32_t n_slots,
                  struct ledger_mapping **mapping_out);
/* Consumes the mapping. Accepts NULL. */
void ledgers_release(struct ledger_mapping *mapping);

#endif
