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
    assert_int_equal(quota_set(&quota, "bytes_per_user", UINT64_MAX - 1, NULL), 0);
    assert_int_equal(quota_charge(&a, user, QUOTA_BYTES, UINT64_MAX - 2), 0);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 2), QUOTA_EXCEEDED);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, UINT64_MAX), QUOTA_EXCEEDED);
    assert_int_equal(quota_charge(&b, user, QUOTA_BYTES, 1), 0);
    quota_discharge(&b);
    quota_discharge(&a);
    /* Connections are clients and some: the sum must not wrap to a small limit. */
    assert_int_equal(quota_set(&quota, "clients_per_user", UINT64_MAX - 1, NULL), 0);
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
    settings.overrides[0] = (struct quota_override){.uid = 9, .limits = quota_limits_unset()};
    settings.overrides[0].limits.bytes_per_user = 2 * MIB;
    settings.overrides[0].limits.clients_per_user = 1;
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

/* What is charged ahead is lowered to what came of it. */
static void test_room_and_lowering(void **state)
{
    (void)state;
    struct quota_user *user = user_of(3);
    struct quota_charge a = {0}, b = {0};
    assert_int_equal(quota_set(&quota, "descriptors_per_user", 20, NULL), 0);
    assert_int_equal(quota_room(user, QUOTA_DESCRIPTORS), 20);
    assert_int_equal(quota_charge(&a, user, QUOTA_DESCRIPTORS, 16), 0);
    assert_int_equal(quota_room(user, QUOTA_DESCRIPTORS), 4);
    quota_charge_lower(&a, 2);
    assert_int_equal(quota_room(user, QUOTA_DESCRIPTORS), 18);
    assert_int_equal(quota_charge(&b, user, QUOTA_DESCRIPTORS, 18), 0);
    assert_int_equal(quota_set(&quota, "descriptors_per_user", 1, NULL), 0);
    assert_int_equal(quota_room(user, QUOTA_DESCRIPTORS), 0); /* not less than none */
    quota_discharge(&a);
    quota_discharge(&b);
    quota_user_unref(user);
}

static void test_values_are_checked(void **state)
{
    (void)state;
    assert_int_equal(quota_set(&quota, "requests_per_second", 0, NULL), -ERANGE);
    assert_int_equal(quota_set(&quota, "requests_per_user", 1000001, NULL), -ERANGE);
    assert_int_equal(quota_set(&quota, "bytes_per_user", QUOTA_LIMIT_UNSET, NULL), -ERANGE);
    assert_int_equal(quota_set(&quota, "bytes_per_user", QUOTA_LIMIT_UNSET - 1, NULL), 0);
}

#define SECOND UINT64_C(1000000000)

/* Two seconds' requests at once, then one by one; what was too much is paid for by waiting. */
static void test_rate(void **state)
{
    (void)state;
    struct quota_rate rate = {0};
    const uint64_t now = 100 * SECOND;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(quota_rate_wait_ns(&rate, now), 0);
        quota_rate_debit(&rate, 10, now);
    }
    assert_int_equal(quota_rate_wait_ns(&rate, now), 0);
    quota_rate_debit(&rate, 10, now);
    assert_int_equal(quota_rate_wait_ns(&rate, now), SECOND / 10);
    assert_int_equal(quota_rate_wait_ns(&rate, now + SECOND / 10), 0);
    /* Many peers may be read at the moment at which the debt is paid: each of them counts. */
    for (int i = 0; i < 5; i++)
        quota_rate_debit(&rate, 10, now + SECOND / 10);
    assert_int_equal(quota_rate_wait_ns(&rate, now + SECOND / 10), SECOND / 2);
    /* Debt is bounded, and idleness earns no more than a full bucket. */
    for (int i = 0; i < 1000; i++)
        quota_rate_debit(&rate, 10, now);
    assert_int_equal(quota_rate_wait_ns(&rate, now), 2 * SECOND);
    for (int i = 0; i < 20; i++)
        quota_rate_debit(&rate, 10, now + 1000 * SECOND);
    assert_int_equal(quota_rate_wait_ns(&rate, now + 1000 * SECOND), 0);
    quota_rate_debit(&rate, 10, now + 1000 * SECOND);
    assert_true(quota_rate_wait_ns(&rate, now + 1000 * SECOND) > 0);
}

/* Its last connection gone, a user in debt is still known, and is forgotten afterwards. */
static void test_debt_outlives_connections(void **state)
{
    (void)state;
    struct quota_user *user = user_of(4);
    for (int i = 0; i < 3; i++)
        quota_rate_debit(&user->rate, 1, clock_now_ns());
    quota_user_unref(user);
    struct quota_user *again = user_of(4);
    assert_true(quota_rate_wait_ns(&again->rate, clock_now_ns()) > 0);
    again->rate.full_at_ns = clock_now_ns() + 1; /* paid, as good as */
    while (clock_now_ns() < again->rate.full_at_ns)
        ;
    quota_user_unref(again);
    assert_true(list_is_empty(&quota.users[4]));
    /* One that was kept goes when the next of its bucket comes. */
    user = user_of(4);
    user->rate.full_at_ns = clock_now_ns() + SECOND / 50;
    quota_user_unref(user);
    assert_false(list_is_empty(&quota.users[4]));
    usleep(25000);
    struct quota_user *next = user_of(4 + QUOTA_N_BUCKETS);
    assert_ptr_equal(list_first(&quota.users[4]), &next->link);
    assert_ptr_equal(next->link.next, &quota.users[4]);
    quota_user_unref(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_limit_and_destructor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_users_are_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overflow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_set_live, setup, teardown),
        cmocka_unit_test_setup_teardown(test_apply_replaces_overrides, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room_and_lowering, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_debt_outlives_connections, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
