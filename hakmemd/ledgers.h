/*
 * Ledgers: made before a client comes, mapped when it stays.
 *
 * To make one takes half a dozen system calls and a page, for which a program would wait that wants
 * its first memory. So a few lie ready, of the size that users without limits of their own get,
 * until descriptors become few; what was taken is made up for a little later, several in one go.
 * Nobody has seen one that lies ready.
 *
 * To map and to unmap takes the lock of the daemon's address space, which a worker may hold for
 * long while it makes pages, and makes every processor that runs one of its threads drop
 * translations: ten times as long as to make the file. A program that is gone within the second
 * needs none of it: the head of its ledger is written through the file before it is sent, the slots
 * of a new one are zero, which is EMPTY, and nothing of it has been IDLE for long enough to be
 * looked at. So a ledger is kept as a descriptor, until reclaim asks for the mapping, which a
 * worker makes, or until somebody needs its words at once.
 *
 * Invariants: a mapping has its descriptor or its memory, or both while a worker maps it. Those
 * that lie ready are all of one size and epoch, and LEDGERS_READY_MAX at most. Loop thread only.
 */
#ifndef HAKMEMD_LEDGERS_H
#define HAKMEMD_LEDGERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ledger.h"
#include "hakmemd/stats.h"
#include "hakmemd/store.h"
#include "hakmemd/worker.h"

struct event;
struct event_base;

#define LEDGERS_READY_MAX 16

struct ledgers {
    struct workers *workers;
    struct store *store; /* borrowed; may be off */
    struct stats *stats;
    struct list ready; /* ledger_mapping.link */
    unsigned n_ready;
    uint32_t ready_slots;
    uint64_t ready_epoch;
    struct event *fill_event; /* pending while there are fewer than there may be */
    bool fills_soon;
};

/* One client's ledger. */
struct ledger_mapping {
    struct list link; /* ledgers.ready */
    struct worker_job job;
    struct ledgers *ledgers;
    struct ledger *ledger; /* NULL: not mapped */
    uint32_t n_slots;
    uint32_t pressure;   /* to be shown in it, once it is mapped */
    int fd;              /* -1: mapped, and closed */
    uint64_t inode;      /* for the store; 0: not looked up */
    bool in_flight;      /* a worker is mapping it */
    bool released;       /* meanwhile */
    struct ledger *made; /* by the worker; NULL: it could not */
};

/* 0 or -ENOMEM. */
int ledgers_init(struct ledgers *ledgers, struct workers *workers, struct store *store,
                 struct event_base *base, struct stats *stats);
/* Drops those that lie ready. Never initialised: does nothing. */
void ledgers_deinit(struct ledgers *ledgers);

/* A ledger of `n_slots` slots, all EMPTY, with its head filled in; `is_usual`: the next ones are
 * likely to be of so many, too. 0 or a negative errno. */
int ledgers_make(struct ledgers *ledgers, uint32_t n_slots, uint64_t daemon_epoch, bool is_usual,
                 struct ledger_mapping **mapping_out);
/* An earlier daemon's ledger, mapped; borrows `fd`. 0, -EINVAL (it is no ledger of so many slots),
 * or another negative errno. */
int ledgers_adopt(struct ledgers *ledgers, int fd, uint32_t n_slots,
                  struct ledger_mapping **mapping_out);

/* The ledger, mapped now if it has not been before. NULL: it cannot be. */
struct ledger *ledgers_map(struct ledger_mapping *mapping);
/* Has a worker map it, if need be. */
void ledgers_map_soon(struct ledger_mapping *mapping);

/* Reads a part of it, mapped or not. (Where it is not, by the file: a word that a client writes at
 * that moment may be seen in parts.) What cannot be read is zero. */
void ledgers_read(const struct ledger_mapping *mapping, size_t offset, void *to, size_t n_bytes);
/* At once, or when it has been mapped. Not by the file: to write to one waits for its inode's lock,
 * and a client can hold that for as long as it likes (punchers.h). */
void ledgers_set_pressure(struct ledger_mapping *mapping, enum ledger_pressure pressure);

/* Consumes the mapping. Accepts NULL. */
void ledgers_release(struct ledger_mapping *mapping);

#endif
