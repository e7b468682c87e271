/* See quota.h. */
#include "hakmemd/quota.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"
#include "hakmemd/clock.h"

/* Connections that a user may have beyond its clients: hakmemctl and the like. */
#define N_CONTROL_CONNECTIONS 64
/* Requests that may come at once on top of the rate, and the debt that is remembered. */
#define BURST_NS ((uint64_t)2000000000)
#define DEBT_NS  ((uint64_t)2000000000)

/* A user may lease as much anew before the pages of what it gave up are free: closing keeps up with
 * it as a rule. */
#define CLOSING_MAX_BYTES ((uint64_t)256 << 20)

/* The part of all descriptors that is the last of them. */
#define FDS_LAST_PART 16
/* What nobody is refused for the sake of others. (There may be none all the same.) */
#define FDS_FOR_ALL 4

#define AT(field) offsetof(struct quota_limits, field)
#define NO_MAX    (QUOTA_LIMIT_UNSET - 1)
#define RATE_MAX  1000000

static const struct quota_key keys[] = {
    {"bytes_per_user", AT(bytes_per_user), 0, NO_MAX, true},
    {"bytes_per_client", AT(bytes_per_client), 0, NO_MAX, true},
    {"clients_per_user", AT(clients_per_user), 0, NO_MAX, false},
    {"descriptors_per_user", AT(descriptors_per_user), 0, NO_MAX, false},
    {"requests_per_second", AT(requests_per_second), 1, RATE_MAX, false},
    {"requests_per_user", AT(requests_per_user), 1, RATE_MAX, false},
};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

static struct list *bucket(struct quota *quota, uid_t uid)
{
    return &quota->users[uid % QUOTA_N_BUCKETS];
}

void quota_init(struct quota *quota, const struct quota_settings *settings)
{
    for (size_t i = 0; i < QUOTA_N_BUCKETS; i++)
        list_init(&quota->users[i]);
    quota->defaults = settings->defaults;
}

static void drop_override(struct quota_user *user)
{
    if (!user->has_override)
        return;
    user->has_override = false;
    quota_user_unref(user);
}

static void drop_overrides(struct quota *quota)
{
    for (size_t i = 0; i < QUOTA_N_BUCKETS; i++) {
        list_for_each_safe(it, &quota->users[i])
        {
            drop_override(list_entry(it, struct quota_user, link));
        }
    }
}

static void user_free(struct quota_user *user)
{
    for (size_t i = 0; i < QUOTA_N_RESOURCES; i++)
        check_or_trap(user->used[i] == 0);
    check_or_trap(list_is_empty(&user->in_flight));
    list_remove(&user->link);
    free(user);
}

/* Nobody refers to it, and there is nothing that it is to be remembered for. */
static bool is_forgettable(const struct quota_user *user, uint64_t now_ns)
{
    return user->n_refs == 0 && user->rate.full_at_ns <= now_ns;
}

/* Those of one bucket that were only kept for their rate. */
static void forget_users(struct list *users, uint64_t now_ns)
{
    list_for_each_safe(it, users)
    {
        struct quota_user *user = list_entry(it, struct quota_user, link);
        if (is_forgettable(user, now_ns))
            user_free(user);
    }
}

void quota_deinit(struct quota *quota)
{
    drop_overrides(quota);
    for (size_t i = 0; i < QUOTA_N_BUCKETS; i++) {
        forget_users(&quota->users[i], UINT64_MAX);
        check_or_trap(list_is_empty(&quota->users[i]));
    }
}

int quota_user_ref(struct quota *quota, uid_t uid, struct quota_user **user_out)
{
    list_for_each(it, bucket(quota, uid))
    {
        struct quota_user *user = list_entry(it, struct quota_user, link);
        if (user->uid == uid) {
            user->n_refs++;
            *user_out = user;
            return 0;
        }
    }
    struct quota_user *user = calloc(1, sizeof(*user));
    if (!user)
        return -ENOMEM;
    forget_users(bucket(quota, uid), clock_now_ns());
    user->quota = quota;
    user->uid = uid;
    user->n_refs = 1;
    for (size_t i = 0; i <= EXTENT_MAX_ORDER; i++)
        list_init(&user->shelf[i]);
    list_init(&user->taker_link);
    list_init(&user->in_flight);
    list_push_back(bucket(quota, uid), &user->link);
    *user_out = user;
    return 0;
}

void quota_user_unref(struct quota_user *user)
{
    if (user && --user->n_refs == 0 && is_forgettable(user, clock_now_ns()))
        user_free(user);
}

struct quota_limits quota_user_limits(const struct quota_user *user)
{
    struct quota_limits limits = user->quota->defaults;
    struct quota_limits own = user->override;
    for (size_t i = 0; i < N_KEYS && user->has_override; i++) {
        uint64_t value = *quota_limits_field(&own, &keys[i]);
        if (value != QUOTA_LIMIT_UNSET)
            *quota_limits_field(&limits, &keys[i]) = value;
    }
    return limits;
}

static uint64_t limit_of(const struct quota_user *user, enum quota_resource resource)
{
    struct quota_limits limits = quota_user_limits(user);
    uint64_t n_connections;
    switch (resource) {
    case QUOTA_BYTES:
        return limits.bytes_per_user;
    case QUOTA_CLIENTS:
        return limits.clients_per_user;
    case QUOTA_CONNECTIONS:
        return __builtin_add_overflow(limits.clients_per_user, N_CONTROL_CONNECTIONS,
                                      &n_connections)
                   ? UINT64_MAX
                   : n_connections;
    case QUOTA_DESCRIPTORS:
        return limits.descriptors_per_user;
    case QUOTA_CLOSING:
        return CLOSING_MAX_BYTES;
    default: /* QUOTA_FDS: quota_charge_fd()'s affair */
        return UINT64_MAX;
    }
}

static int charge_within(struct quota_charge *charge, struct quota_user *user,
                         enum quota_resource resource, uint64_t amount, uint64_t limit)
{
    check_or_trap(!charge->user);
    uint64_t sum;
    if (__builtin_add_overflow(user->used[resource], amount, &sum) || sum > limit)
        return QUOTA_EXCEEDED;
    user->used[resource] = sum;
    user->n_refs++;
    *charge = (struct quota_charge){.user = user, .resource = resource, .amount = amount};
    return 0;
}

int quota_charge(struct quota_charge *charge, struct quota_user *user, enum quota_resource resource,
                 uint64_t amount)
{
    return charge_within(charge, user, resource, amount, limit_of(user, resource));
}

int quota_charge_fd(struct quota_charge *charge, struct quota_user *user, const struct stats *stats,
                    enum stats_fds_purpose purpose)
{
    uint64_t left = stats_fds_free(stats, purpose), used = user->used[QUOTA_FDS];
    if (stats_fds_free(stats, FDS_FOR_LEASE) <= stats->fd_limit / FDS_LAST_PART &&
        used >= FDS_FOR_ALL && used + 2 > left) /* it would hold one more than one less */
        return QUOTA_EXCEEDED;
    return quota_charge(charge, user, QUOTA_FDS, 1);
}

int quota_charge_held(struct quota_charge *charge, struct quota_user *user,
                      enum quota_resource resource, uint64_t amount)
{
    return charge_within(charge, user, resource, amount, UINT64_MAX);
}

void quota_charge_lower(struct quota_charge *charge, uint64_t amount)
{
    struct quota_user *user = charge->user;
    check_or_trap(user && amount <= charge->amount &&
                  user->used[charge->resource] >= charge->amount);
    user->used[charge->resource] -= charge->amount - amount;
    charge->amount = amount;
}

void quota_discharge(struct quota_charge *charge)
{
    struct quota_user *user = charge->user;
    if (!user)
        return;
    quota_charge_lower(charge, 0);
    *charge = (struct quota_charge){0};
    quota_user_unref(user);
}

uint64_t quota_room(const struct quota_user *user, enum quota_resource resource)
{
    uint64_t limit = limit_of(user, resource), used = user->used[resource];
    return limit > used ? limit - used : 0;
}

/* ---- rates ---- */

void quota_rate_debit(struct quota_rate *rate, uint64_t per_second, uint64_t now_ns)
{
    check_or_trap(per_second > 0);
    uint64_t full_at_ns = rate->full_at_ns > now_ns ? rate->full_at_ns : now_ns;
    full_at_ns += 1000000000 / per_second;
    uint64_t most_ns = now_ns + BURST_NS + DEBT_NS;
    rate->full_at_ns = full_at_ns < most_ns ? full_at_ns : most_ns;
}

uint64_t quota_rate_wait_ns(const struct quota_rate *rate, uint64_t now_ns)
{
    return rate->full_at_ns > now_ns + BURST_NS ? rate->full_at_ns - now_ns - BURST_NS : 0;
}

/* ---- keys ---- */

const struct quota_key *quota_key_find(const char *name)
{
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

uint64_t *quota_limits_field(struct quota_limits *limits, const struct quota_key *key)
{
    return (uint64_t *)(void *)((char *)limits + key->offset);
}

struct quota_limits quota_limits_unset(void)
{
    struct quota_limits limits;
    for (size_t i = 0; i < N_KEYS; i++)
        *quota_limits_field(&limits, &keys[i]) = QUOTA_LIMIT_UNSET;
    return limits;
}

/* The user's override, made if need be. */
static int own_limits(struct quota *quota, uid_t uid, struct quota_limits **limits_out)
{
    struct quota_user *user;
    int r = quota_user_ref(quota, uid, &user);
    if (r < 0)
        return r;
    if (user->has_override) {
        quota_user_unref(user);
    } else {
        user->has_override = true; /* keeps the reference just taken */
        user->override = quota_limits_unset();
    }
    *limits_out = &user->override;
    return 0;
}

int quota_set(struct quota *quota, const char *key, uint64_t value, const uid_t *uid)
{
    struct quota_limits *limits = &quota->defaults;
    const struct quota_key *found = quota_key_find(key);
    if (!found)
        return -EINVAL;
    if (value < found->min || value > found->max)
        return -ERANGE;
    if (uid) {
        int r = own_limits(quota, *uid, &limits);
        if (r < 0)
            return r;
    }
    *quota_limits_field(limits, found) = value;
    return 0;
}

int quota_apply(struct quota *quota, const struct quota_settings *settings)
{
    drop_overrides(quota);
    quota->defaults = settings->defaults;
    for (size_t i = 0; i < settings->n_overrides; i++) {
        struct quota_limits *limits;
        int r = own_limits(quota, settings->overrides[i].uid, &limits);
        if (r < 0)
            return r;
        *limits = settings->overrides[i].limits;
    }
    return 0;
}
