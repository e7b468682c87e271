/* The link when the daemon is restarted: a ledger that is kept and gone on with, or given up. */
#include "fake-daemon.h"

#include <sys/syscall.h>
#include <sys/wait.h>

/* The link's clock, in place of the C library's: the ten seconds pass when a test says so. */
static uint64_t clock_offset_s;

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int r = (int)syscall(SYS_clock_gettime, clock, time);
    time->tv_sec += (time_t)clock_offset_s;
    return r;
}

/* A grant by a daemon that can be restarted without losing the client. */
static struct grant_spec grant_lasting(void)
{
    struct grant_spec spec = grant_good(1);
    spec.client_id = 77;
    spec.n_token_bytes = 16;
    return spec;
}

static void connect_lasting(struct fake *fake, const struct grant_spec *spec)
{
    lease_when_allowed();
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
}

/* The daemon ends; the link notices. */
static void lose(struct fake *fake)
{
    close(fake->listener);
    fake_hang_up(fake);
    fake_listen(fake);
    assert_int_equal(collect(), LINK_ABSENT);
    assert_null(link_ledger());
    assert_int_equal(link_pressure(), LEDGER_PRESSURE_NONE);
}

/* The Hello to the next daemon; its id. Does it show who we are? */
static uint64_t greet_next(struct fake *fake, bool shows_token)
{
    lease_when_allowed();
    fake_accept(fake);
    Hakmem__Request *request = fake_read(fake);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_HELLO);
    assert_int_equal(request->hello->features, 1);
    assert_int_equal(request->hello->client_id, shows_token ? 77 : 0);
    assert_int_equal(request->hello->reattach_token.len, shows_token ? 16 : 0);
    if (shows_token)
        assert_memory_equal(request->hello->reattach_token.data, fake_token, 16);
    return request->id;
}

static void test_ledger_goes_on(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_lasting();
    connect_lasting(fake, &spec);
    struct ledger *ledger = link_ledger();
    uint32_t generation = link_generation();
    for (int round = 0; round < 3; round++) {
        lose(fake);
        assert_ptr_equal(link_words(), ledger);
        assert_int_equal(link_generation(), generation);
        uint64_t id = greet_next(fake, true);
        assert_ptr_equal(link_words(), ledger);
        spec.reattached = true;
        spec.extents[0].id = 200 + (uint64_t)round;
        fake_grant(fake, id, true, &spec);
        assert_int_equal(collect(), LINK_GRANTED);
        assert_int_equal(extents[0].id, 200 + round);
        drop_extents();
        assert_ptr_equal(link_ledger(), ledger);
        assert_int_equal(link_generation(), generation);
    }
    assert_int_equal(link_counters()->losses, 3);
    assert_int_equal(link_counters()->connects, 4);
}

/* The next daemon does not know us: another ledger, another generation. */
static void test_ledger_is_replaced(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_lasting();
    connect_lasting(fake, &spec);
    struct ledger *ledger = link_ledger();
    uint32_t generation = link_generation();
    lose(fake);
    spec.client_id = 78;
    fake_grant(fake, greet_next(fake, true), true, &spec);
    assert_int_equal(collect(), LINK_GRANTED);
    drop_extents();
    assert_ptr_not_equal(link_ledger(), ledger);
    assert_ptr_equal(link_words(), link_ledger());
    assert_int_not_equal(link_generation(), generation);
    assert_int_equal(ledger->n_slots, N_SLOTS); /* a late reader's is still there */
}

/* Without a token, or with one that is none, a ledger ends with its connection. */
static void test_ledger_without_a_token(void **state)
{
    struct fake *fake = *state;
    for (int kind = 0; kind < 3; kind++) {
        struct grant_spec spec = grant_lasting();
        spec.client_id = kind == 0 ? 0 : 77;
        spec.n_token_bytes = kind == 1 ? 15 : kind == 2 ? 17 : 0;
        connect_lasting(fake, &spec);
        uint32_t generation = link_generation();
        lose(fake);
        assert_null(link_words());
        assert_int_not_equal(link_generation(), generation);
        (void)greet_next(fake, false);
        link_init(fake->path, true, WAIT_US);
    }
}

static void test_ledger_is_not_kept_for_ever(void **state)
{
    struct fake *fake = *state;
    struct grant_spec spec = grant_lasting();
    connect_lasting(fake, &spec);
    uint32_t generation = link_generation();
    lose(fake);
    clock_offset_s += 9;
    (void)collect();
    assert_non_null(link_words());
    clock_offset_s += 2;
    (void)collect();
    assert_null(link_words());
    assert_int_not_equal(link_generation(), generation);
    (void)greet_next(fake, false);
}

/* A daemon that claims to go on with what it cannot know. */
static void test_hostile_reattachment(void **state)
{
    struct fake *fake = *state;
    for (int kind = 0; kind < 4; kind++) {
        struct grant_spec spec = grant_lasting();
        link_init(fake->path, true, WAIT_US);
        if (kind > 0) {
            connect_lasting(fake, &spec);
            lose(fake);
        }
        uint64_t id = greet_next(fake, kind > 0);
        spec.reattached = true;
        spec.client_id = kind == 1 ? 78 : 77;
        spec.ledger_slots = kind == 2 ? N_SLOTS * 2 : N_SLOTS;
        spec.n_fds_extra = kind == 3;
        fake_grant(fake, id, true, &spec);
        assert_int_equal(collect(), LINK_ABSENT);
        assert_int_equal(n_extents, 0);
        assert_null(link_ledger());
        assert_int_equal(link_descriptor(), -1);
        /* What we heed are still our own words, if we have any. */
        assert_int_equal(link_words() != NULL, kind > 0);
    }
}

/* A child is another client, whatever it has inherited. */
static void test_child_does_not_claim_it(void **state)
{
    struct fake *fake = *state;
    for (int has_handlers = 0; has_handlers < 2; has_handlers++) {
        struct grant_spec spec = grant_lasting();
        link_init(fake->path, true, WAIT_US);
        connect_lasting(fake, &spec);
        struct ledger *ledger = link_ledger();
        lose(fake);
        pid_t child = has_handlers ? fork() : _Fork();
        if (child == 0) {
            if (has_handlers)
                link_after_fork_child();
            else
                (void)collect();
            ledger->slots[5] = 0x666; /* a late writer: must not reach the parent */
            _exit(!link_words() && lease(2, 1, false) == LINK_PENDING ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        fake_accept(fake);
        assert_int_equal(fake_read(fake)->hello->client_id, 0);
        assert_int_equal(ledger->slots[5], 0);
        assert_ptr_equal(link_words(), ledger);
        (void)greet_next(fake, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ledger_goes_on),         TEST(test_ledger_is_replaced),
        TEST(test_ledger_without_a_token), TEST(test_ledger_is_not_kept_for_ever),
        TEST(test_hostile_reattachment),   TEST(test_child_does_not_claim_it),
    };
    return cmocka_run_group_tests_name("link-restart", tests, NULL, NULL);
}
