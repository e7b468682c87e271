/*
 * Quotas: what each user and each client may hold, and what they do hold.
 *
 * Accounting is by charge objects, after dbus-broker's src/util/user.c: whatever a peer can grow
 * embeds a charge, and the destruction of the thing undoes the charge. So nothing is ever counted
 * by hand, and nothing can be forgotten.
 *
 * A user exists while somebody refers to it: a charge, a client, or an override from the
 * configuration or hakmemctl. Invariant: a user's used[r] is the sum of its living charges of
 * resource r; used[r] never overflows. A limit lowered below what is used refuses more and takes
 * nothing away.
 *
 * Loop thread only. Knows nothing of extents or peers.
 */
#ifndef HAKMEMD_QUOTA_H
#define HAKMEMD_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "common/superslab.h"

/* Positive, documented condition of quota_charge() and quota_account_charge(): the limit is met. */
#define QUOTA_EXCEEDED 1

enum quota_resource {
    QUOTA_BYTES,       /* leased, orphaned, and recycled on the user's own shelf */
    QUOTA_CLIENTS,     /* that said Hello */
    QUOTA_CONNECTIONS, /* of any kind; limit: that of clients and a few more, for control */
    QUOTA_N_RESOURCES
};

struct quota_limits {
    uint64_t bytes_per_user;
    uint64_t bytes_per_client;
    uint64_t clients_per_user;
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
    struct quota_limits override;
    bool has_override;                       /* holds one of n_refs */
    struct list shelf[EXTENT_MAX_ORDER + 1]; /* extents recycled for this user; pool.c's */
    struct list taker_link;                  /* fairshare.takers; this and the following: its */
    uint64_t asked_bytes;
    uint64_t taken_bytes;
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
/* Charges beyond the limit if need be: what is held already, whatever the limit is now.
 * QUOTA_EXCEEDED: the sum would overflow. */
int quota_charge_held(struct quota_charge *charge, struct quota_user *user,
                      enum quota_resource resource, uint64_t amount);
/* The charge's destructor. Uncharged: does nothing. */
void quota_discharge(struct quota_charge *charge);

/* Sets one limit by its key ("bytes_per_user", …) for all (user NULL) or one. 0, -EINVAL (no such
 * key), -ENOMEM. */
int quota_set(struct quota *quota, const char *key, uint64_t value, const uid_t *uid);

/* The place of a key in a struct of limits, or NULL. */
uint64_t *quota_limits_field(struct quota_limits *limits, const char *key);

bool quota_user_is_valid(const struct quota_user *user);

#endif
