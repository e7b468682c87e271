/*
 * A client: a program that said Hello, as the memory side of the daemon knows it. Its ledger, its
 * slots, its extents. The socket is the peer's business (peer.h).
 *
 * Invariants: leased_bytes is the sum of the extents on `leases`; each of those is LEASED, points
 * back here, and holds a run of slots. Every word of the ledger is the client's to scribble on: it
 * is read once and checked, never believed.
 *
 * Loop thread only.
 */
#ifndef HAKMEMD_CLIENT_H
#define HAKMEMD_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/ledger.h"
#include "common/list.h"
#include "hakmemd/cgroup.h"
#include "hakmemd/extent.h"
#include "hakmemd/ledgers.h"
#include "hakmemd/quota.h"
#include "hakmemd/slots.h"

#define CLIENT_MAX_SLOTS 32768u

/* What the ledger says of a client's SuperSlabs, in bytes; of what we know to be leased to it, no
 * more. */
struct client_usage {
    uint64_t active_bytes;
    uint64_t idle_bytes;
    uint64_t reclaimed_bytes;
    uint64_t pinned_bytes;
};

struct client {
    struct list link; /* leases.clients, leases.ended */
    pid_t pid;
    uid_t uid;
    char program[64]; /* see client_program() */
    uint64_t connected_ms;
    uint64_t held_bytes;
    unsigned reclaim_round;     /* reclaim.c's: the last that it was looked at in */
    struct client_usage usage;  /* as it was then; reclaim.c's, too */
    struct client_usage so_far; /* of the round that is under way */
    struct quota_user *user;
    struct cgroup *cgroup;          /* or NULL */
    unsigned node;                  /* of its last request's processor; may be TOPOLOGY_ANY_NODE */
    struct quota_charge charge;     /* QUOTA_CLIENTS */
    struct ledger_mapping *mapping; /* every word of it is hostile */
    uint32_t n_slots;
    struct slots *slots;
    bool has_returned;  /* an extent: slots may be handed out again */
    struct list leases; /* extent.link */
    struct list lost;   /* client_lost.link */

    uint64_t id; /* over restarts; 0: this client does not outlive the daemon */
    unsigned char token[STORE_TOKEN_BYTES];
    struct store *store; /* borrowed; may be off */
    struct store_entry stored;
    uint64_t leased_bytes;
    uint64_t n_leases_total;
    uint64_t n_denied_total;

    uint32_t n_working;                      /* extents with care.in_flight */
    bool ending;                             /* no work is to be begun */
    void (*on_quiet)(struct client *client); /* once, when ending and n_working is 0 */
    void *on_quiet_data;
    void (*on_leave)(struct client *client,
                     struct extent *extent); /* its work is over, it was returned */
    void *on_leave_data;
};

/*
 * An extent that the client has from an earlier daemon and whose descriptor was lost: nothing can
 * be done with it here, but its slots are in use until the client returns it.
 */
struct client_lost {
    struct list link; /* client.lost */
    uint64_t id;
    uint32_t first_slot;
    uint32_t n_slabs;
    struct store_entry stored;
};

/* Slots of the ledger that a new client of this user gets. */
uint32_t client_slots_for(const struct quota_user *user);

/* 0, QUOTA_EXCEEDED (quota.clients_per_user), or a negative errno. `cgroup_id` as for
 * cgroups_get(). Its ledger is not mapped: what to send is mapping->fd. */
int client_new(struct quota *quota, struct ledgers *ledgers, struct cgroups *cgroups, pid_t pid,
               uid_t uid, uint64_t cgroup_id, uint64_t daemon_epoch, struct client **client_out);
/*
 * An earlier daemon's client, as its record says, leasing nothing as yet; keeps its record. Borrows
 * the ledger's descriptor. 0 or a negative errno.
 */
int client_adopt(struct quota *quota, struct ledgers *ledgers, struct cgroups *cgroups,
                 const struct store_record *record, uint32_t index, int ledger_fd,
                 struct client **client_out);
/* Leases nothing any more. Accepts NULL. */
void client_free(struct client *client);

/* Its ledger, mapped if need be. NULL: there is no memory for that. */
struct ledger *client_ledger(struct client *client);

/*
 * The program's name for people, read when first asked for: Hello is in a hurry. Not to be relied
 * on, a program may call itself what it likes.
 */
const char *client_program(struct client *client);

/* Puts a LEASED extent on the client's list, with slots that read EMPTY. -ENOSPC: out of slots. */
int client_add_extent(struct client *client, struct extent *extent);
/* The same at the slots that it has had from an earlier daemon, whose words stay, but that a punch
 * which nobody will finish is called off. -EINVAL: the slots are not free. */
int client_readd_extent(struct client *client, struct extent *extent, uint32_t first_slot);
/* Reserves the slots of an extent that was lost, and keeps its record. 0, -EINVAL or -ENOMEM. */
int client_add_lost(struct client *client, const struct store_record *record, uint32_t index);
/* The client returned it. False: there is no such one. */
bool client_remove_lost(struct client *client, uint64_t id);
/* Are all its words EMPTY? Then the client has let go of it, or never got it. */
bool client_has_let_go(const struct client *client, uint32_t first_slot, uint32_t n_slabs);
/* Takes it off again. Its slots' words stay as they are: the client may outlive the connection. */
void client_remove_extent(struct client *client, struct extent *extent);

/* SuperSlabs of a leased extent have lost their pages, or some: new ones will be charged to the
 * client. */
void client_note_punched(struct extent *extent, uint16_t slabs);

/*
 * Submits work on a leased extent: run() on a worker, then done() on the loop, which is to call
 * client_end_work() last. No extent leaves the client, and no client ends, with work in flight;
 * what has not been begun by then is cancelled. False: there is some already, or the client is
 * ending.
 */
bool client_begin_work(struct extent *extent, void (*run)(struct worker_job *job),
                       void (*done)(struct worker_job *job));
/* Has on_leave() called once the work on the extent is over. False: there is none, it may leave at
 * once. */
bool client_leave_after_work(struct extent *extent);
/* May free the client: neither is to be touched afterwards. */
void client_end_work(struct extent *extent);

/* No more work for this client; on_quiet(client) is called when none is in flight: at once, or from
 * the loop. */
void client_end(struct client *client, void (*on_quiet)(struct client *client));

/* Reads the words of one of its extents, each once, to be checked: of a ledger that is not mapped
 * by its file. */
void client_read_words(const struct client *client, const struct extent *extent,
                       uint32_t words[EXTENT_MAX_SLABS]);
void client_count_words(const uint32_t *words, uint32_t n_slabs, struct client_usage *usage);
/* All of them at once. */
void client_add_usage(const struct client *client, struct client_usage *usage);
void client_set_pressure(struct client *client, enum ledger_pressure pressure);

bool client_is_valid(struct client *client);

#endif
