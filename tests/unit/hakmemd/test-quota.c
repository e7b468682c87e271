/* Quotas: each limit, overflow, destructors, overrides. */
#include "fixture.h"

#include <errno.h>

static struct quota quota;

static int setup(void **state)
{
    (void)state;
    quota_init(&quota, &fixture_quota);
    return 0;
}

/* quota_deinit() traps if a user is left: each test must undo all its charges. */
static int teardown(void **state)
{
    (void)state;
    quota_deinit(&quota);
    return 0;
}

static struct quota_user *user_of(uid_t uid)
{
    struct quota_user *user;
    assert_int_equal(quota_user_ref(&quota, uid, &user), 0);
    return user;
}

static void test_limit_and_destructor(void **state)
{
    (void)state;
    struct quota_user *user = user_of(7);
    struct quota_charge a = {0}, b = {0};
    assert_int_equal(quota_charge(&a, user, QUOTA_BYTES, 1024 * MIB), 0);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 1), QUOTA_EXCEEDED);
    assert_null(b.user);
    quota_discharge(&b); /* uncharged: nothing */
    assert_int_equal(user->used[QUOTA_BYTES], 1024 * MIB);
    quota_discharge(&a);
    quota_discharge(&a);
    assert_int_equal(user->used[QUOTA_BYTES], 0);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 1), 0);
    quota_user_unref(user);
    /* The charge alone keeps the user. */
    struct quota_user *again = user_of(7);
    assert_ptr_equal(again, b.user);
    assert_int_equal(again->used[QUOTA_BYTES], 1);
    quota_discharge(&b);
    quota_user_unref(again);
    quota_user_unref(NULL);
}

static void test_users_are_apart(void **state)
{
    (void)state;
    /* 7 and 263 share a bucket. */
    struct quota_user *one = user_of(7), *other = user_of(7 + QUOTA_N_BUCKETS);
    struct quota_charge a = {0}, b = {0};
    assert_ptr_not_equal(one, other);
    assert_int_equal(quota_charge(&a, one, QUOTA_CLIENTS, 100), 0);
    assert_int_equal(quota_charge(&b, one, QUOTA_CLIENTS, 1), QUOTA_EXCEEDED);
    assert_int_equal(quota_charge(&b, other, QUOTA_CLIENTS, 100), 0);
    quota_discharge(&a);
    quota_discharge(&b);
    quota_user_unref(one);
    quota_user_unref(other);
}

static void test_overflow(void **state)
{
    (void)state;
    struct quota_user *user = user_of(1);
    struct quota_charge a = {0}, b = {0};
    assert_int_equal(quota_set(&quota, "bytes_per_user", UINT64_MAX, NULL), 0);
    assert_int_equal(quota_charge(&a, user, QUOTA_BYTES, UINT64_MAX - 1), 0);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 2), QUOTA_EXCEEDED);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 1), 0);
    quota_discharge(&b);
    quota_discharge(&a);
    /* Connections are clients and some: the sum must not wrap to a small limit. */
    assert_int_equal(quota_set(&quota, "clients_per_user", UINT64_MAX, NULL), 0);
    assert_int_equal(quota_charge(&a, user, QUOTA_CONNECTIONS, 1 << 20), 0);
    quota_discharge(&a);
    quota_user_unref(user);
}

static void test_set_live(void **state)
{
    (void)state;
    struct quota_user *user = user_of(5);
    struct quota_charge a = {0}, b = {0};
    uid_t uid = 5;
    assert_int_equal(quota_charge(&a, user, QUOTA_BYTES, 10 * MIB), 0);
    assert_int_equal(quota_set(&quota, "bytes_per_user", 4 * MIB, &uid), 0);
    /* Lowered below what is used: nothing is taken away, nothing more is given. */
    assert_int_equal(user->used[QUOTA_BYTES], 10 * MIB);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 1), QUOTA_EXCEEDED);
    assert_int_equal(quota_user_limits(user).bytes_per_user, 4 * MIB);
    assert_int_equal(quota_user_limits(user).bytes_per_client, 512 * MIB);
    assert_int_equal(quota_set(&quota, "bytes_per_client", 3 * MIB, NULL), 0);
    assert_int_equal(quota_user_limits(user).bytes_per_client, 3 * MIB);
    assert_int_equal(quota_set(&quota, "no_such_key", 1, &uid), -EINVAL);
    assert_int_equal(quota_set(&quota, "bytes_per_user", 11 * MIB, &uid), 0);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, MIB), 0);
    quota_discharge(&a);
    quota_discharge(&b);
    quota_user_unref(user);
}

static void test_apply_replaces_overrides(void **state)
{
    (void)state;
    static struct quota_settings settings;
    settings = fixture_quota;
    settings.n_overrides = 1;
    settings.overrides[0] =
        (struct quota_override){.uid = 9, .limits = {2 * MIB, QUOTA_LIMIT_UNSET, 1}};
    uid_t other = 10;
    assert_int_equal(quota_set(&quota, "clients_per_user", 3, &other), 0);
    assert_int_equal(quota_apply(&quota, &settings), 0);
    struct quota_user *nine = user_of(9), *ten = user_of(10);
    assert_int_equal(quota_user_limits(nine).bytes_per_user, 2 * MIB);
    assert_int_equal(quota_user_limits(nine).bytes_per_client, 512 * MIB);
    assert_int_equal(quota_user_limits(nine).clients_per_user, 1);
    assert_int_equal(quota_user_limits(ten).clients_per_user, 100);
    quota_user_unref(nine);
    quota_user_unref(ten);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limit_and_destructor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_users_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overflow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set_live, setup, teardown),
        cmocka_unit_test_setup_teardown(test_apply_replaces_overrides, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
