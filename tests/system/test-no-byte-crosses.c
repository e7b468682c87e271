/*
 * No byte that one program wrote is ever readable by another. Clients fill all that they can lease
 * with a pattern and end in different ways; others, of the same user and of another, search every
 * byte of what they are leased next.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-client.h"

#define NONE HAKMEM__ERROR_CODE__ERROR_NONE

/* More than the stock, so that fresh, recycled and cold extents all take part. */
#define N_SLABS   24u
#define USER_A    61001
#define USER_B    61002
#define N_ENDINGS 4

enum ending { END_RETURNED, END_EXITED, END_KILLED, END_HALF_RECLAIMED };

/* Which file was leased to whom; shared with the children that lease. */
struct sighting {
    uid_t uid;
    ino_t inode;
};
struct sightings {
    size_t n;
    struct sighting list[4096];
};
static struct sightings *sightings;

static int setup(void **state)
{
    struct daemon *daemon = malloc(sizeof(*daemon));
    daemon_init(daemon);
    daemon_configure(daemon, "pool.min=16M", "pool.max=128M", "reclaim.idle_ms=1",
                     "socket.mode=0666", NULL);
    daemon_start(daemon);
    sightings =
        mmap(NULL, sizeof(*sightings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(sightings != MAP_FAILED);
    *state = daemon;
    return 0;
}

static int teardown(void **state)
{
    munmap(sightings, sizeof(*sightings));
    daemon_deinit(*state);
    free(*state);
    return 0;
}

/* Leases at least N_SLABS SuperSlabs in runs of `run`, mapped. */
static size_t lease_many(struct client *client, uint32_t run, struct lease *held)
{
    struct lease leases[CONN_MAX_FDS];
    size_t n, n_held = 0;
    uint32_t n_slabs = 0;
    while (n_slabs < N_SLABS) {
        require_equal(client_lease(client, N_SLABS - n_slabs < run ? run : N_SLABS - n_slabs, run,
                                   leases, &n),
                      NONE);
        for (size_t i = 0; i < n; i++) {
            lease_map(client, &leases[i]);
            n_slabs += leases[i].n_slabs;
            held[n_held++] = leases[i];
        }
    }
    return n_held;
}

static void note_files(const struct lease *held, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct stat status;
        require(fstat(held[i].fd, &status) == 0);
        require(sightings->n < sizeof(sightings->list) / sizeof(sightings->list[0]));
        sightings->list[sightings->n++] =
            (struct sighting){.uid = getuid(), .inode = status.st_ino};
    }
}

/* Pairs of sightings of one file by two users, or by one user twice. */
static size_t count_files_seen_again(bool by_another)
{
    size_t n_again = 0;
    for (size_t a = 0; a < sightings->n; a++) {
        for (size_t b = 0; b < a; b++) {
            if (sightings->list[a].inode == sightings->list[b].inode)
                n_again += (sightings->list[a].uid != sightings->list[b].uid) == by_another;
        }
    }
    return n_again;
}

static void begin(struct client *client, const struct daemon *daemon)
{
    struct lease none[CONN_MAX_FDS];
    size_t n;
    client_connect(client, daemon);
    require_equal(client_hello(client, 0, none, &n), NONE);
}

static void fill(struct lease *held, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lease_fill(&held[i], 0xa5);
}

static void search(const struct lease *held, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!lease_is(&held[i], 0)) {
            fprintf(stderr, "extent %llu of uid %u\n", (unsigned long long)held[i].id, getuid());
            harness_fail(__FILE__, __LINE__, "zero memory");
        }
    }
}

/* In a child of its own: lease, search, fill, and end in one of several ways. */
static void search_and_fill(struct daemon *daemon, uid_t uid, uint32_t run, enum ending ending)
{
    pid_t child = harness_fork();
    if (child != 0) {
        int status = harness_wait(child);
        require_equal(status, ending == END_KILLED ? SIGKILL : 0);
        return;
    }
    struct client client;
    struct lease held[N_SLABS];
    if (uid != 0)
        harness_become(uid);
    begin(&client, daemon);
    size_t n = lease_many(&client, run, held);
    search(held, n);
    note_files(held, n);
    fill(held, n);
    switch (ending) {
    case END_RETURNED:
        for (size_t i = 0; i < n; i++)
            lease_give_back(&client, &held[i]);
        break;
    case END_EXITED:
        break;
    case END_KILLED:
        raise(SIGKILL);
        break;
    case END_HALF_RECLAIMED:
        for (size_t i = 0; i < n; i++)
            (void)lease_change(&client, &held[i], 0, SLAB_IDLE);
        while (lease_state(&client, &held[0], 0) != SLAB_RECLAIMED)
            harness_pause();
        break;
    }
    _exit(0);
}

static void test_same_user(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    uint64_t n_rounds = 0;
    for (enum ending ending = 0; ending < N_ENDINGS; ending++) {
        for (uint32_t run = 1; run <= 4; run *= 2, n_rounds++) {
            search_and_fill(daemon, 0, run, ending);
            /* Sometimes at once, while the last one's memory is still being cleared. */
            if (n_rounds % 2)
                stats_until(daemon, &stats, stats_are_quiet(&stats));
        }
    }
    stats_until(daemon, &stats, stats_are_quiet(&stats));
    /* Else nothing was tried: the memory must have come round. */
    printf("%llu MiB were leased again to the same user\n",
           (unsigned long long)(stats.reused_bytes_total / MIB));
    require(stats.reused_bytes_total > 0);
}

static void test_other_user(void **state)
{
    struct daemon *daemon = *state;
    Hakmem__StatsReply stats;
    harness_need_root();
    for (enum ending ending = 0; ending < N_ENDINGS; ending++) {
        for (int round = 0; round < 2; round++) {
            search_and_fill(daemon, USER_A, 1u << round, ending);
            search_and_fill(daemon, USER_B, 1u << round, ending);
            stats_until(daemon, &stats, stats_are_quiet(&stats));
        }
    }
    /* What the user has of its own may have been given up meanwhile, on a slow or short host. */
    for (int round = 0; round < 20 && count_files_seen_again(false) == 0; round++) {
        search_and_fill(daemon, USER_A, 1, 0);
        stats_until(daemon, &stats, stats_are_quiet(&stats));
    }
    /* Memory changes users only as a new file; for the same user it does come round. */
    require_equal(count_files_seen_again(true), 0);
    require(count_files_seen_again(false) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_user),
        TEST(test_other_user),
    };
    return cmocka_run_group_tests_name("no-byte-crosses", tests, NULL, NULL);
}
