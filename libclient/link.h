/*
 * The link: the library's connection to hakmemd. The only file that talks to the daemon.
 *
 * Asks for extents, collects the replies, returns extents, maps the ledger. Never blocks longer
 * than it is told to, never allocates, prints or changes errno. A daemon that is absent, slow, gone
 * or hostile is a result, and the caller goes on with private memory.
 *
 * Not thread-safe: every call but link_ledger() and link_pressure() is made under source.c's lock.
 * One instance a process.
 */
#ifndef HAKMEM_LIBCLIENT_LINK_H
#define HAKMEM_LIBCLIENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conn.h"
#include "common/ledger.h"

/* An extent as it arrives: `fd` is the receiver's to close. Values are checked against the
 * protocol's ranges. */
struct link_extent {
    uint64_t id;
    int fd;
    uint64_t inode; /* of fd */
    uint32_t n_slabs;
    uint32_t first_slot;
    uint32_t huge_slabs;
};

enum link_result {
    LINK_GRANTED, /* extents were delivered */
    LINK_PENDING, /* asked, no answer yet: link_collect() later */
    LINK_REFUSED, /* the daemon said no (quota, memory, draining); it was told why in the counters
                   */
    LINK_ABSENT, /* no daemon, or back-off is running, or HAKMEM_CONNECT=off, or secure execution */
};

struct link_counters {
    uint64_t connects;      /* successful Hellos */
    uint64_t connect_fails; /* no socket, or no acceptable answer to Hello */
    uint64_t losses;        /* a working connection ended */
    uint64_t timeouts;      /* waits that ran out; the reply is collected later if it still comes */
    uint64_t refusals;
    uint64_t leases;     /* extents received */
    uint64_t stolen_fds; /* our descriptor number turned out to be somebody else's */
    uint64_t syscalls;
};

/*
 * The only settings; call before anything else (tests call it again: everything starts afresh).
 * `path` must outlive the link (it may be NULL: the default socket).
 */
void link_init(const char *path, bool enabled, uint32_t wait_us);

/*
 * Makes sure a request for `n_slabs` SuperSlabs, in extents of at least `run_slabs`, is under way,
 * then waits up to the bound (wait = true) or not at all for its extents. Connects first if need
 * be: the first extents then come with the Hello reply. A request still pending from before is
 * collected first, and not doubled. LINK_GRANTED: extents[0..*n_extents) are the caller's. Those
 * that come with a Hello may be shorter than `run_slabs`. A request is waited for once: when that
 * wait has run out, later calls only look whether the answer has come.
 */
enum link_result link_lease(uint32_t n_slabs, uint32_t run_slabs, bool wait,
                            struct link_extent extents[CONN_MAX_FDS], size_t *n_extents);

/*
 * Takes what has arrived, without waiting. LINK_GRANTED, or LINK_PENDING (nothing yet),
 * LINK_REFUSED, LINK_ABSENT (nothing is under way). Also finds out whether the daemon is still
 * there: link_ledger() is NULL afterwards if not.
 */
enum link_result link_collect(struct link_extent extents[CONN_MAX_FDS], size_t *n_extents);

/* Is a lease request under way? */
bool link_is_pending(void);

/* Tells the daemon that these extents are unmapped, closed and their slots EMPTY. At most 64.
 * Failure means a lost link. */
void link_return(const uint64_t *extent_ids, size_t n_extents);

/* Bytes of extents from earlier connections still mapped: what the next Hello reports. */
void link_set_held_bytes(uint64_t bytes);

/*
 * The ledger of the connection in force, or NULL. A ledger's addresses stay mapped for good once
 * delivered, so that a late reader reads stale memory, never unmapped memory; some ledgers later,
 * or in a forked child, that is private zero memory.
 */
struct ledger *link_ledger(void);

/*
 * The ledger whose words are to be heeded, or NULL: that of the connection in force, or one that is
 * kept while there is none, for the next daemon may go on with it. `generation` tells one ledger
 * from the next: an extent belongs to the ledger in force when it was delivered, and its slots are
 * meaningless in any other.
 */
struct ledger *link_words(void);
uint32_t link_generation(void);

/* The daemon's pressure level, LEDGER_PRESSURE_NONE when there is no link. Any thread. */
enum ledger_pressure link_pressure(void);

/*
 * In a forked child: forget the parent's connection without disturbing it (close our copy of the
 * descriptor if it still is what we think it is) and be ready to connect anew. The parent's ledger
 * is not written: private memory takes its place. A child of a fork that ran no handlers finds out
 * at its first use of the link and does the same.
 */
void link_after_fork_child(void);
/* Was no daemon ever looked for? Then there is nothing to forget. Under source.c's lock, or in a
 * child. */
bool link_is_untouched(void);

/* Is this descriptor number ours (for diagnostics)? */
int link_descriptor(void);

const struct link_counters *link_counters(void);
/* Of these, the system calls made by the end of the last call here. Any thread. */
uint64_t link_n_syscalls(void);

#endif
