/* See quota.h. */
#include "hakmemd/quota.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/check.h"

/* Connections that a user may have beyond its clients: hakmemctl and the like. */
#define N_CONTROL_CONNECTIONS 64

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

void quota_deinit(struct quota *quota)
{
    drop_overrides(quota);
    for (size_t i = 0; i < QUOTA_N_BUCKETS; i++)
        check_or_trap(list_is_empty(&quota->users[i]));
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
    user->quota = quota;
    user->uid = uid;
    user->n_refs = 1;
    for (size_t i = 0; i <= EXTENT_MAX_ORDER; i++)
        list_init(&user->shelf[i]);
    list_init(&user->taker_link);
    list_push_back(bucket(quota, uid), &user->link);
    *user_out = user;
    return 0;
}

void quota_user_unref(struct quota_user *user)
{
    if (!user || --user->n_refs > 0)
        return;
    for (size_t i = 0; i < QUOTA_N_RESOURCES; i++)
        check_or_trap(user->used[i] == 0);
    list_remove(&user->link);
    free(user);
}

struct quota_limits quota_user_limits(const struct quota_user *user)
{
    struct quota_limits limits = user->quota->defaults;
    if (user->has_override) {
        const struct quota_limits *own = &user->override;
        if (own->bytes_per_user != QUOTA_LIMIT_UNSET)
            limits.bytes_per_user = own->bytes_per_user;
        if (own->bytes_per_client != QUOTA_LIMIT_UNSET)
            limits.bytes_per_client = own->bytes_per_client;
        if (own->clients_per_user != QUOTA_LIMIT_UNSET)
            limits.clients_per_user = own->clients_per_user;
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
    default:
        return 0;
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

int quota_charge_held(struct quota_charge *charge, struct quota_user *user,
                      enum quota_resource resource, uint64_t amount)
{
    return charge_within(charge, user, resource, amount, UINT64_MAX);
}

void quota_discharge(struct quota_charge *charge)
{
    struct quota_user *user = charge->user;
    if (!user)
        return;
    check_or_trap(user->used[charge->resource] >= charge->amount);
    user->used[charge->resource] -= charge->amount;
    *charge = (struct quota_charge){0};
    quota_user_unref(user);
}

uint64_t *quota_limits_field(struct quota_limits *limits, const char *key)
{
    if (strcmp(key, "bytes_per_user") == 0)
        return &limits->bytes_per_user;
    if (strcmp(key, "bytes_per_client") == 0)
        return &limits->bytes_per_client;
    if (strcmp(key, "clients_per_user") == 0)
        return &limits->clients_per_user;
    return NULL;
}

static const struct quota_limits limits_unset = {QUOTA_LIMIT_UNSET, QUOTA_LIMIT_UNSET,
                                                 QUOTA_LIMIT_UNSET};

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
        user->override = limits_unset;
    }
    *limits_out = &user->override;
    return 0;
}

int quota_set(struct quota *quota, const char *key, uint64_t value, const uid_t *uid)
{
    struct quota_limits *limits = &quota->defaults;
    if (!quota_limits_field(limits, key))
        return -EINVAL;
    if (uid) {
        int r = own_limits(quota, *uid, &limits);
        if (r < 0)
            return r;
    }
    *quota_limits_field(limits, key) = value;
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

bool quota_user_is_valid(const struct quota_user *user)
{
    if (user->n_refs == 0)
        return false;
    return user->used[QUOTA_CLIENTS] <= user->used[QUOTA_CONNECTIONS] ||
           user->used[QUOTA_CONNECTIONS] == 0;
}
