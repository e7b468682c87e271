/* Ledgers that lie ready before a client comes: that there are some, what they are, and when not.
 */
#include "fixture.h"

#include <dirent.h>
#include <sys/stat.h>

#define USER       1001
#define OTHER_USER 1002

static unsigned count_fds(void)
{
    unsigned n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static struct fixture *begin(void)
{
    return fixture_new(0, 64 * MIB, 0, 60000);
}

static bool is_filled(const struct fixture *f)
{
    return f->ledgers.n_ready == LEDGERS_READY_MAX;
}

/* As long as nobody came: none. After the first: some, and the next ones get these. */
static void test_the_next_ones_get_them(void **state)
{
    (void)state;
    struct fixture_client c[LEDGERS_READY_MAX + 2];
    unsigned n_fds = count_fds();
    struct fixture *f = begin();
    c[0] = fixture_client_new(f, USER);
    assert_int_equal(f->ledgers.n_ready, 0);
    fixture_wait(f, is_filled(f));
    assert_int_equal(f->stats.n_ahead_fds, LEDGERS_READY_MAX);
    assert_int_equal(f->stats.n_ledger_fds, 1);
    for (unsigned i = 1; i <= LEDGERS_READY_MAX; i++) {
        c[i] = fixture_client_new(f, USER);
        assert_int_equal(f->ledgers.n_ready, LEDGERS_READY_MAX - i);
        assert_int_equal(f->stats.n_ahead_fds, LEDGERS_READY_MAX - i);
        assert_int_equal(f->stats.n_ledger_fds, 1 + i);
    }
    c[LEDGERS_READY_MAX + 1] = fixture_client_new(f, USER); /* made when it came */
    fixture_wait(f, is_filled(f));
    for (unsigned i = 0; i < LEDGERS_READY_MAX + 2; i++)
        fixture_client_end(f, &c[i]);
    fixture_free(f);
    assert_int_equal(count_fds(), n_fds);
}

/* Each is a file of its own, that nobody can change the size of or open, new, and of this daemon.
 */
static void test_what_they_are(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct fixture_client c[4];
    struct stat status[4];
    c[0] = fixture_client_new(f, USER);
    fixture_wait(f, is_filled(f));
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0)
            c[i] = fixture_client_new(f, USER);
        int fd = c[i].client->mapping->fd;
        const struct ledger *ledger = c[i].ledger;
        assert_int_equal(fstat(fd, &status[i]), 0);
        for (unsigned k = 0; k < i; k++)
            assert_int_not_equal(status[i].st_ino, status[k].st_ino);
        assert_int_equal(status[i].st_mode & 07777, 0600);
        assert_int_equal(status[i].st_size, c[i].ledger_bytes);
        assert_int_equal(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL),
                         F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        assert_int_equal(ledger->magic, LEDGER_MAGIC);
        assert_int_equal(ledger->abi_version, LEDGER_ABI_VERSION);
        assert_int_equal(ledger->n_slots, c[i].client->n_slots);
        assert_int_equal(ledger->daemon_epoch, 1);
        const unsigned char *bytes = (const unsigned char *)ledger;
        for (size_t at = offsetof(struct ledger, counters); at < c[i].ledger_bytes; at++)
            assert_int_equal(bytes[at], 0);
        memset((unsigned char *)c[i].ledger, 0xff, c[i].ledger_bytes); /* nobody sees that again */
    }
    for (unsigned i = 0; i < 4; i++)
        fixture_client_end(f, &c[i]);
    fixture_free(f);
}

/* Whoever has a limit of its own gets as many slots as that is good for, and changes nothing for
 * the others; a limit that changes for all does. */
static void test_of_the_usual_size(void **state)
{
    (void)state;
    struct fixture *f = begin();
    const uid_t other = OTHER_USER;
    struct fixture_client c = fixture_client_new(f, USER);
    uint32_t n_slots = c.client->n_slots;
    fixture_wait(f, is_filled(f));
    assert_int_equal(quota_set(&f->quota, "bytes_per_client", 64 * MIB, &other), 0);
    struct fixture_client d = fixture_client_new(f, OTHER_USER);
    assert_int_equal(d.client->n_slots, 32);
    assert_int_equal(d.ledger->n_slots, 32);
    assert_true(is_filled(f));
    assert_int_equal(f->ledgers.ready_slots, n_slots);
    fixture_client_end(f, &d);

    assert_int_equal(quota_set(&f->quota, "bytes_per_client", 128 * MIB, NULL), 0);
    d = fixture_client_new(f, USER);
    assert_int_equal(d.client->n_slots, 64);
    assert_int_equal(f->ledgers.n_ready, 0);
    assert_int_equal(f->stats.n_ahead_fds, 0);
    fixture_wait(f, is_filled(f));
    assert_int_equal(f->ledgers.ready_slots, 64);
    fixture_client_end(f, &d);
    fixture_client_end(f, &c);
    fixture_free(f);
}

/* Where descriptors are few, none is kept ready that somebody else could use. */
static void test_few_descriptors(void **state)
{
    (void)state;
    struct fixture *f = begin();
    struct fixture_client c[6];
    c[0] = fixture_client_new(f, USER);
    fixture_wait(f, is_filled(f));
    /* stats.c: comfort begins below three eighths of the limit; three are too many now. */
    while (stats_fds_available(&f->stats, FDS_FOR_PIDFD, 0))
        f->stats.fd_limit--;
    f->stats.n_peers += 2;
    c[1] = fixture_client_new(f, USER);
    assert_in_range(f->ledgers.n_ready, LEDGERS_READY_MAX - 5, LEDGERS_READY_MAX - 3);
    assert_true(stats_fds_available(&f->stats, FDS_FOR_PIDFD, 0));
    f->stats.fd_limit = 200; /* none at all */
    for (unsigned i = 2; i < 6; i++) {
        c[i] = fixture_client_new(f, USER);
        assert_int_equal(f->ledgers.n_ready, 0);
    }
    fixture_wait(f, !evtimer_pending(f->ledgers.fill_event, NULL));
    assert_int_equal(f->ledgers.n_ready, 0);
    f->stats.n_peers -= 2;
    for (unsigned i = 0; i < 6; i++)
        fixture_client_end(f, &c[i]);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_next_ones_get_them),
        cmocka_unit_test(test_what_they_are),
        cmocka_unit_test(test_of_the_usual_size),
        cmocka_unit_test(test_few_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
