/*
 * Quotas: what each user and each client may hold, and what they do hold.
 *
 * Accounting is by charge objects, after dbus-broker's src/util/user.c: whatever a peer can grow
 * embeds a charge, and the destruction of the thing undoes the charge. So nothing is ever counted
 * by hand, and nothing can be forgotten.
 *
 * A user exists while somebody refers to it: a charge, a client, or an override from the
 * configuration or hakmemctl; and, so that a limit on its requests cannot be dodged by connecting
 * anew, until its rate is paid for. Invariant: a user's used[r] is the sum of its living charges of
 * resource r; used[r] never overflows. A limit lowered below what is used refuses more and takes
 * nothing away.
 *
 * Loop thread only. Knows nothing of extents or peers.
 */
#ifndef HAKMEMD_QUOTA_H
#define HAKMEMD_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "common/superslab.h"
#include "hakmemd/stats.h"

/* Positive, documented condition of quota_charge() and quota_account_charge(): the limit is met. */
#define QUOTA_EXCEEDED 1

enum quota_resource {
    QUOTA_BYTES,       /* leased, orphaned, and recycled on the user's own shelf */
    QUOTA_CLIENTS,     /* that said Hello */
    QUOTA_CONNECTIONS, /* of any kind; limit: that of clients and a few more, for control */
    QUOTA_DESCRIPTORS, /* sent to the user's clients, and not taken by them yet */
    QUOTA_FDS,         /* that the daemon holds for the user: see quota_charge_fd() */
    QUOTA_CLOSING,     /* bytes given up that a worker has not closed yet: see extent_discard() */
    QUOTA_N_RESOURCES
};

struct quota_limits {
    uint64_t bytes_per_user;
    uint64_t bytes_per_client;
    uint64_t clients_per_user;
    uint64_t descriptors_per_user;
    uint64_t requests_per_second; /* of one connection */
    uint64_t requests_per_user;   /* the same of all of a user's together, in a second */
};

/* A limit by its key in the configuration, and what it may be. */
struct quota_key {
    const char *name;
    size_t offset; /* in struct quota_limits */
    uint64_t min;
    uint64_t max;
    bool is_bytes;
};

/*
 * How fast requests come: a bucket that fills with the rate, up to what two seconds bring, and that
 * is debited after the fact. A debt is paid by waiting, so that nothing is ever refused for coming
 * fast. Zeroed is as full as it gets.
 */
struct quota_rate {
    uint64_t full_at_ns; /* of clock_now_ns(): when the bucket will be full */
};

#define QUOTA_N_OVERRIDES_MAX 64
#define QUOTA_LIMIT_UNSET     UINT64_MAX

struct quota_override {
    uid_t uid;
    struct quota_limits limits; /* QUOTA_LIMIT_UNSET: the default's */
};

struct quota_settings {
    struct quota_limits defaults;
    struct quota_override overrides[QUOTA_N_OVERRIDES_MAX];
    size_t n_overrides;
};

#define QUOTA_N_BUCKETS 256

struct quota {
    struct quota_limits defaults;
    struct list users[QUOTA_N_BUCKETS];
};

struct quota_user {
    struct list link; /* quota.users[uid % QUOTA_N_BUCKETS] */
    struct quota *quota;
    uid_t uid;
    uint64_t n_refs;
    uint64_t used[QUOTA_N_RESOURCES];
    struct quota_rate rate; /* of the requests of all its connections */
    struct quota_limits override;
    bool has_override;                       /* holds one of n_refs */
    struct list shelf[EXTENT_MAX_ORDER + 1]; /* extents recycled for this user; pool.c's */
    struct list taker_link;                  /* fairshare.takers; this and the following: its */
    uint64_t asked_bytes;
    uint64_t taken_bytes;
    struct list in_flight;    /* peers with descriptors in flight; peer.c's */
    uint64_t swept_ms;        /* when in_flight was last looked through; peer.c's */
    unsigned n_stuck_punches; /* of its clients' extents; punchers.c's */
};

/* Embedded in what it is for. Zeroed is uncharged. */
struct quota_charge {
    struct quota_user *user;
    enum quota_resource resource;
    uint64_t amount;
};

void quota_init(struct quota *quota, const struct quota_settings *settings);
void quota_deinit(struct quota *quota);
/* Puts other limits in force, for those connected, too. 0 or -ENOMEM (some overrides are missing
 * then). */
int quota_apply(struct quota *quota, const struct quota_settings *settings);

/* A reference to the user, made if need be. 0 or -ENOMEM. */
int quota_user_ref(struct quota *quota, uid_t uid, struct quota_user **user_out);
/* Accepts NULL. */
void quota_user_unref(struct quota_user *user);

struct quota_limits quota_user_limits(const struct quota_user *user);

/* Charges the user. 0, or QUOTA_EXCEEDED (nothing is charged then). `charge` must be uncharged. */
int quota_charge(struct quota_charge *charge, struct quota_user *user, enum quota_resource resource,
                 uint64_t amount);
/*
 * Charges for one of the daemon's own descriptors: an extent's, a connection's. 0, or
 * QUOTA_EXCEEDED. There is no limit for a user alone, but the last of them, a sixteenth of
 * RLIMIT_NOFILE beside what is left for connections, go only to whoever holds no more than would
 * then be left, or next to nothing. So there is always something for a user that has little,
 * whatever another takes.
 */
int quota_charge_fd(struct quota_charge *charge, struct quota_user *user, const struct stats *stats,
                    enum stats_fds_purpose purpose);
/* Charges beyond the limit if need be: what is held already, whatever the limit is now.
 * QUOTA_EXCEEDED: the sum would overflow. */
int quota_charge_held(struct quota_charge *charge, struct quota_user *user,
                      enum quota_resource resource, uint64_t amount);
/* Gives back what of the charge is above `amount`. */
void quota_charge_lower(struct quota_charge *charge, uint64_t amount);
/* The charge's destructor. Uncharged: does nothing. */
void quota_discharge(struct quota_charge *charge);
/* How much of a resource the user may still be charged for. */
uint64_t quota_room(const struct quota_user *user, enum quota_resource resource);

/* ---- rates ---- */

/* One request at this rate (at least 1 a second) has come. A debt of more than two seconds is
 * forgiven. */
void quota_rate_debit(struct quota_rate *rate, uint64_t per_second, uint64_t now_ns);
/* Nanoseconds until the bucket is out of debt; 0: it is. */
uint64_t quota_rate_wait_ns(const struct quota_rate *rate, uint64_t now_ns);

/* ---- keys ---- */

/* The key of this name ("bytes_per_user", …), or NULL. */
const struct quota_key *quota_key_find(const char *name);
/* Where a key's value is in a struct of limits. */
uint64_t *quota_limits_field(struct quota_limits *limits, const struct quota_key *key);
/* No limit of its own in any key. */
struct quota_limits quota_limits_unset(void);

/* Sets one limit by its key for all (uid NULL) or one. 0, -EINVAL (no such key), -ERANGE, -ENOMEM.
 */
int quota_set(struct quota *quota, const char *key, uint64_t value, const uid_t *uid);

#endif
