/* The link with a correct daemon, a slow one, and one that refuses, is absent or dies. */
#include "fake-daemon.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

/* ---- tests: a correct daemon ---- */

static void test_hello_brings_extents(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(3);
    uint32_t generation = link_generation();

    link_set_held_bytes(12345);
    assert_null(link_ledger());
    assert_int_equal(lease(6, 2, false), LINK_PENDING);
    assert_true(link_is_pending());
    fake_accept(fake);
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_HELLO);
    assert_int_equal(request->hello->version_min, 1);
    assert_int_equal(request->hello->want_slabs, 6);
    assert_int_equal(request->hello->held_bytes, 12345);
    assert_int_equal(collect(), LINK_PENDING);
    fake_grant(fake, request->id, true, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    assert_false(link_is_pending());
    assert_int_equal(n_extents, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(extents[i].id, 100 + i);
        assert_int_equal(extents[i].n_slabs, 2);
        assert_int_equal(extents[i].first_slot, i * 2);
        assert_int_equal(extents[i].huge_slabs, 1);
        assert_int_equal(fcntl(extents[i].fd, F_GETFD), FD_CLOEXEC);
    }
    drop_extents();
    assert_int_equal(link_generation(), generation + 1);
    assert_int_equal(link_ledger()->n_slots, N_SLOTS);
    assert_int_equal(link_counters()->connects, 1);
    assert_int_equal(link_counters()->leases, 3);
    assert_true(link_counters()->syscalls > 0);
}

static void test_hello_without_extents_asks_on(void **state)
{
    struct fake *fake = *state;
    struct grant_spec none = grant_good(0), some = grant_good(2);
    assert_int_equal(lease(4, 2, false), LINK_PENDING);
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, &none);
    assert_int_equal(collect(), LINK_PENDING);
    assert_true(link_is_pending());
    assert_non_null(link_ledger());
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_LEASE);
    assert_int_equal(request->lease->n_slabs, 4);
    assert_int_equal(request->lease->run_slabs, 2);
    fake_grant(fake, request->id, false, &some);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
}

static void test_pending_is_not_doubled(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    connect_good(fake);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    uint64_t id = fake_read(fake)->id;
    for (int i = 0; i < 5; i++)
        assert_int_equal(lease(2, 1, i % 2), LINK_PENDING);
    fake_grant(fake, id, false, &spec);
    assert_int_equal(lease(2, 1, false), LINK_GRANTED);
    drop_extents();
    /* Nothing more was sent: the next request is the Return. */
    uint64_t ids[] = {100, 101};
    link_return(ids, 2);
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_RETURN_EXTENTS);
    assert_int_equal(request->id, id + 1);
}

static void test_returns_and_leases_interleave(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    uint64_t ids[64];
    for (size_t i = 0; i < 64; i++)
        ids[i] = UINT64_MAX - i;
    connect_good(fake);
    for (int round = 0; round < 20; round++) {
        errno = ERRNO_MARKER;
        link_return(ids, 64);
        assert_int_equal(errno, ERRNO_MARKER);
        assert_int_equal(lease(2, 1, false), LINK_PENDING);
        link_return(ids, 1);
        Hakmem__Request *request = fake_read(fake);
        assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_RETURN_EXTENTS);
        assert_int_equal(request->return_extents->n_extent_ids, 64);
        assert_true(request->return_extents->extent_ids[63] == UINT64_MAX - 63);
        fake_accept_return(fake, request->id, 64);
        fake_grant(fake, fake_read(fake)->id, false, &spec);
        fake_accept_return(fake, fake_read(fake)->id, 1);
        assert_int_equal(collect(), LINK_GRANTED);
        drop_extents();
    }
    assert_int_equal(link_counters()->losses, 0);
}

static void test_pressure(void **state)
{
    struct fake *fake = *state;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
    connect_good(fake);
    link_ledger()->pressure = LEDGER_PRESSURE_CRITICAL;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_CRITICAL);
    link_ledger()->pressure = 77;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
    link_ledger()->pressure = LEDGER_PRESSURE_SOME;
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_SOME);
    fake_hang_up(fake);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
}

/* ---- tests: waiting ---- */

static void *answer_hello_and_lease(void *argument)
{
    struct fake *fake = argument;
    struct grant_spec spec = grant_good(2);
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, &spec);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    return NULL;
}

static void test_waits_for_the_answer(void **state)
{
    struct fake *fake = *state;
    pthread_t thread;
    /* Long enough that only a lost wake-up makes it run out. */
    link_init(fake->path, true, PATIENCE_MS * 1000);
    assert_int_equal(pthread_create(&thread, NULL, answer_hello_and_lease, fake), 0);
    assert_int_equal(lease(4, 1, true), LINK_GRANTED);
    drop_extents();
    assert_int_equal(lease(4, 1, true), LINK_GRANTED);
    drop_extents();
    pthread_join(thread, NULL);
    assert_int_equal(link_counters()->timeouts, 0);
}

static void test_wait_is_bounded_and_late_replies_are_collected(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    for (int is_hello = 1; is_hello >= 0; is_hello--) {
        uint64_t started = clock_ns();
        assert_int_equal(lease(2, 1, true), LINK_PENDING);
        uint64_t elapsed = clock_ns() - started;
        assert_true(elapsed >= WAIT_US * 1000ull);
        assert_true(elapsed < WAIT_US * 1000ull * 50);
        assert_int_equal(link_counters()->timeouts, 2 - is_hello);
        /* It was waited for once; a stopped daemon does not cost the bound at each call. */
        uint64_t syscalls = link_counters()->syscalls;
        assert_int_equal(lease(2, 1, true), LINK_PENDING);
        assert_int_equal(link_counters()->timeouts, 2 - is_hello);
        assert_true(link_counters()->syscalls - syscalls <= 2);
        if (is_hello)
            fake_accept(fake);
        fake_grant(fake, fake_read(fake)->id, is_hello, &spec);
        assert_int_equal(collect(), LINK_GRANTED);
        drop_extents();
    }
    assert_int_equal(link_counters()->losses, 0);
    assert_int_equal(link_counters()->connect_fails, 0);
}

static void on_alarm(int signal_number)
{
    (void)signal_number;
}

static void test_signals_do_not_prolong_the_wait(void **state)
{
    struct fake *fake = *state;
    struct sigaction action = {.sa_handler = on_alarm}, old;
    struct itimerval often = {.it_interval.tv_usec = 500, .it_value.tv_usec = 500}, never = {0};
    connect_good(fake);
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    uint64_t started = clock_ns();
    enum link_result result = lease(2, 1, true);
    uint64_t elapsed = clock_ns() - started;
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    assert_int_equal(result, LINK_PENDING);
    assert_true(elapsed >= WAIT_US * 1000ull);
    assert_true(elapsed < WAIT_US * 1000ull * 50);
}

static void *lease_while_cancelled(void *argument)
{
    int *finished = argument;
    pthread_cancel(pthread_self());
    /* Each of these makes calls that are cancellation points. */
    (void)lease(2, 1, true);
    (void)collect();
    uint64_t id = 1;
    link_return(&id, 1);
    *finished = 1;
    pthread_testcancel();
    *finished = 2;
    return NULL;
}

static void test_is_no_cancellation_point(void **state)
{
    struct fake *fake = *state;
    pthread_t thread;
    void *result;
    int finished = 0;
    connect_good(fake);
    assert_int_equal(pthread_create(&thread, NULL, lease_while_cancelled, &finished), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal(finished, 1);
    assert_ptr_equal(result, PTHREAD_CANCELED);
}

/* ---- tests: refusal, absence, loss ---- */

static void test_refusal_backs_off(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_good(1);
    connect_good(fake);
    assert_int_equal(lease(8, 4, false), LINK_PENDING);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    assert_int_equal(collect(), LINK_REFUSED);
    assert_false(link_is_pending());
    assert_non_null(link_ledger());
    assert_int_equal(link_counters()->refusals, 1);
    uint64_t syscalls = link_counters()->syscalls;
    assert_int_equal(lease(8, 4, true), LINK_REFUSED);
    assert_int_equal(lease(16, 16, true), LINK_REFUSED);
    assert_int_equal(link_counters()->syscalls, syscalls);
    assert_int_equal(link_counters()->refusals, 1);
    /* A shorter run than the one refused may well be there. */
    assert_int_equal(lease(8, 2, false), LINK_PENDING);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_NO_MEMORY);
    assert_int_equal(collect(), LINK_REFUSED);
    assert_int_equal(lease(8, 2, true), LINK_REFUSED);
    /* A grant clears the back-off. */
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
    assert_int_equal(lease(8, 4, false), LINK_PENDING);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_BUSY);
    assert_int_equal(collect(), LINK_REFUSED);
    /* And it ends by itself. */
    uint64_t started = clock_ns();
    while (lease(2, 4, false) != LINK_PENDING)
        assert_true(clock_ns() - started < PATIENCE_MS * 1000000ull);
    spec.extents[0].n_slabs = 4;
    spec.extents[0].real_bytes = 4 * SUPERSLAB_BYTES;
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
}

static void test_refused_hello(void **state)
{
    struct fake *fake = *state;
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_accept(fake);
    fake_refuse(fake, fake_read(fake)->id, HAKMEM__ERROR_CODE__ERROR_QUOTA);
    assert_int_equal(collect(), LINK_REFUSED);
    assert_int_equal(link_descriptor(), -1);
    assert_int_equal(link_counters()->refusals, 1);
    fake_expect_hang_up(fake);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
}

static void test_nobody_there(void **state)
{
    struct fake *fake = *state;
    int before = open_descriptors();
    link_init("/nonexistent/hakmemd.sock", true, WAIT_US);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(link_counters()->connect_fails, 1);
    uint64_t syscalls = link_counters()->syscalls;
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(link_counters()->syscalls, syscalls);
    assert_int_equal(link_counters()->connect_fails, 1);

    /* A socket whose owner has died. */
    close(fake->listener);
    link_init(fake->path, true, WAIT_US);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(open_descriptors(), before - 1);
    fake_listen(fake);
    connect_good(fake);
}

static void test_disabled(void **state)
{
    struct fake *fake = *state;
    uint64_t id = 1;
    link_init(fake->path, false, WAIT_US);
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(collect(), LINK_ABSENT);
    link_return(&id, 1);
    assert_int_equal(link_counters()->syscalls, 0);
}

static void test_loss_and_new_daemon(void **state)
{
    struct fake *fake = *state;
    struct ledger *ledgers[6];
    uint64_t id = 1;
    for (size_t i = 0; i < 6; i++) {
        connect_good(fake);
        ledgers[i] = link_ledger();
        ledgers[i]->slots[3] = 0x101;
        uint32_t generation = link_generation();
        close(fake->listener);
        fake_hang_up(fake);
        fake_listen(fake);
        if (i % 2)
            link_return(&id, 1);
        else
            assert_int_equal(lease(2, 1, true), LINK_ABSENT);
        assert_null(link_ledger());
        assert_int_not_equal(link_generation(), generation);
        assert_int_equal(link_descriptor(), -1);
        assert_int_equal(link_counters()->losses, i + 1);
        assert_int_equal(link_counters()->connects, i + 1);
    }
    /* Late readers find memory, stale for a while, then empty. */
    assert_int_equal(ledgers[5]->slots[3], 0x101);
    assert_int_equal(ledgers[2]->slots[3], 0x101);
    assert_int_equal(ledgers[0]->slots[3], 0);
    ledgers[0]->slots[3] = 1;
}

static void test_loss_while_pending(void **state)
{
    struct fake *fake = *state;
    connect_good(fake);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    fake_hang_up(fake);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_false(link_is_pending());
    assert_int_equal(link_counters()->losses, 1);
    connect_good(fake);
}

/* A daemon that reads nothing: the link gives it up rather than wait, and nothing blocks. */
static void test_daemon_that_never_reads(void **state)
{
    struct fake *fake = *state;
    uint64_t ids[64] = {0};
    connect_good(fake);
    for (int i = 0; i < 100000 && link_ledger(); i++)
        link_return(ids, 64);
    assert_null(link_ledger());
    assert_int_equal(link_counters()->losses, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_hello_brings_extents),
        TEST(test_hello_without_extents_asks_on),
        TEST(test_pending_is_not_doubled),
        TEST(test_returns_and_leases_interleave),
        TEST(test_pressure),
        TEST(test_waits_for_the_answer),
        TEST(test_wait_is_bounded_and_late_replies_are_collected),
        TEST(test_signals_do_not_prolong_the_wait),
        TEST(test_is_no_cancellation_point),
        TEST(test_refusal_backs_off),
        TEST(test_refused_hello),
        TEST(test_nobody_there),
        TEST(test_disabled),
        TEST(test_loss_and_new_daemon),
        TEST(test_loss_while_pending),
        TEST(test_daemon_that_never_reads),
    };
    return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
