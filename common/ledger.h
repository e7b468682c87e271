/*
 * The ledger: the memory that the daemon and one client share.
 *
 * A memfd, created by the daemon and sealed against any change of size, mapped read-write by both.
 * It holds one state word per SuperSlab that the client leases, the daemon's pressure level, and
 * the client's counters. It is how memory is given back without a system call: the client marks a
 * SuperSlab IDLE, the daemon takes its pages.
 *
 * A slot is a SuperSlab's place in the array of state words. The daemon hands out slots with each
 * extent (first_slot, one per SuperSlab, consecutive) and takes them back when the extent leaves; a
 * client never chooses one.
 *
 * State words change through ledger_slab_change() alone, and only along the transitions listed in
 * ledger_transition_is_allowed(). The upper 24 bits count changes, so that a SuperSlab that went
 * IDLE -> ACTIVE -> IDLE between two looks of the daemon is seen to have been used.
 *
 * The daemon trusts nothing in here: it reads each word once, checks it, and keeps which extent a
 * slot belongs to in its own memory. A client that lies about its states harms only itself.
 */
#ifndef HAKMEM_COMMON_LEDGER_H
#define HAKMEM_COMMON_LEDGER_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/atomic.h"

#define LEDGER_MAGIC       0x6d6b6168u /* "hakm" */
#define LEDGER_ABI_VERSION 1u
#define LEDGER_N_CLASSES   96u
#define LEDGER_SLOT_NONE   UINT32_MAX

enum slab_state {
    SLAB_EMPTY = 0,      /* no extent of the client's is here */
    SLAB_ACTIVE = 1,     /* holds, or may at any moment hold, live blocks */
    SLAB_IDLE = 2,       /* holds none; pages still there */
    SLAB_RECLAIMING = 3, /* the daemon is punching its pages out */
    SLAB_RECLAIMED = 4,  /* pages gone; reads as zero */
    SLAB_PINNED = 5,     /* copied at a fork; the daemon keeps its hands off for good */
    SLAB_N_STATES
};

enum ledger_actor { LEDGER_CLIENT, LEDGER_DAEMON };

/* How the daemon feels about memory; clients read it at slow paths. */
enum ledger_pressure {
    LEDGER_PRESSURE_NONE = 0,
    LEDGER_PRESSURE_SOME = 1,     /* flush caches of idle classes, do not look ahead */
    LEDGER_PRESSURE_CRITICAL = 2, /* keep nothing you do not need */
};

/*
 * Per size class, written by the client at refill and flush with relaxed stores: figures to show,
 * which order nothing. live = out - cached; fragmented bytes = span_bytes - out * block_bytes.
 */
struct ledger_class {
    uint32_t block_bytes;
    uint32_t reserved;
    uint64_t span_bytes;    /* bytes of spans given to this class */
    uint64_t out_blocks;    /* blocks outside their span: live or in a thread cache */
    uint64_t cached_blocks; /* of those, in thread caches */
};

struct ledger_counters {
    uint64_t private_bytes; /* SuperSlabs from anonymous memory, now */
    uint64_t large_bytes;   /* runs of units handed out, now */
    uint64_t huge_bytes;    /* whole SuperSlabs handed out, now */
    uint64_t fallbacks;     /* times a lease was wanted and private memory was taken */
    uint64_t refills;
    uint64_t flushes;
    uint64_t syscalls; /* mmap, munmap, madvise, send, receive by the library */
    uint64_t forks;
};

struct ledger {
    /* Written by the daemon before the client sees the ledger; constant from then on. */
    uint32_t magic;
    uint32_t abi_version;
    uint32_t n_slots;
    uint32_t reserved;
    uint64_t daemon_epoch; /* random, new at each daemon start */
    /* Written by the daemon at any time, relaxed: a hint. enum ledger_pressure. */
    uint32_t pressure;
    uint32_t reserved2[9];
    struct ledger_counters counters;
    struct ledger_class classes[LEDGER_N_CLASSES];
    uint32_t slots[]; /* n_slots state words: sequence << 8 | enum slab_state */
};

static_assert(offsetof(struct ledger, counters) == 64, "the ledger's layout is an ABI");
static_assert(sizeof(struct ledger_class) == 32, "the ledger's layout is an ABI");
static_assert(sizeof(struct ledger_counters) == 64, "the ledger's layout is an ABI");
static_assert(offsetof(struct ledger, slots) == 64 + 64 + 32 * LEDGER_N_CLASSES,
              "the ledger's layout is an ABI");

static inline size_t ledger_bytes(uint32_t n_slots)
{
    return offsetof(struct ledger, slots) + (size_t)n_slots * sizeof(uint32_t);
}

static inline enum slab_state ledger_word_state(uint32_t word)
{
    return (enum slab_state)(word & 0xff);
}

/* A word as a peer may have written it: is its state one that exists? */
static inline bool ledger_word_is_valid(uint32_t word)
{
    return (word & 0xff) < SLAB_N_STATES;
}

/*
 * Who may change what to what. The Promela model in docs/model/ledger.pml has the same transitions
 * under the same names.
 *
 * Client: map an extent (EMPTY -> ACTIVE), give back (ACTIVE -> IDLE), take again (IDLE or
 * RECLAIMED -> ACTIVE), return the extent (IDLE or RECLAIMED -> EMPTY), fork (anything it has ->
 * PINNED), leave a pinned extent (PINNED -> EMPTY). RECLAIMING is never the client's to take, not
 * even from a daemon that seems gone. Daemon: IDLE -> RECLAIMING -> RECLAIMED, or RECLAIMING ->
 * IDLE when the punch failed; and anything -> EMPTY once the extent has left the client.
 */
static inline bool ledger_transition_is_allowed(enum ledger_actor actor, enum slab_state from,
                                                enum slab_state to)
{
    if (actor == LEDGER_DAEMON) {
        return (from == SLAB_IDLE && to == SLAB_RECLAIMING) ||
               (from == SLAB_RECLAIMING && (to == SLAB_RECLAIMED || to == SLAB_IDLE)) ||
               to == SLAB_EMPTY;
    }
    switch (to) {
    case SLAB_ACTIVE:
        return from == SLAB_EMPTY || from == SLAB_IDLE || from == SLAB_RECLAIMED;
    case SLAB_IDLE:
        return from == SLAB_ACTIVE;
    case SLAB_EMPTY:
        return from == SLAB_IDLE || from == SLAB_RECLAIMED || from == SLAB_PINNED;
    case SLAB_PINNED:
        return from != SLAB_EMPTY && from != SLAB_PINNED;
    default:
        return false;
    }
}

/*
 * Changes the state word from `seen` (a whole word, as read) to state `to`. False if the word is no
 * longer `seen`, or if the transition is not this actor's to make; nothing has changed then. The
 * sequence goes up by one.
 *
 * Acquire-release: a client that takes a RECLAIMED SuperSlab (acquire) sees the punch that the
 * daemon finished before its own change (release); the daemon that takes an IDLE one sees the
 * client's last stores to it, and so punches after them.
 */
static inline bool ledger_slab_change(uint32_t *slot, uint32_t seen, enum ledger_actor actor,
                                      enum slab_state to)
{
    if (!ledger_word_is_valid(seen) ||
        !ledger_transition_is_allowed(actor, ledger_word_state(seen), to))
        return false;
    uint32_t next = ((seen & ~(uint32_t)0xff) + 0x100) | (uint32_t)to;
    return atomic_cas_acq_rel(slot, &seen, next);
}

/* Pairs with the release in ledger_slab_change. */
static inline uint32_t ledger_slot_read(const uint32_t *slot)
{
    return atomic_load_acquire(slot);
}

#endif
