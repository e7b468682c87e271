/* Limits of control groups, on trees of files: versions 1 and 2 and both, nested, unreadable, gone;
 * and that they bind what is leased. */
#include "cgroup-scene.h"

#include <sys/inotify.h>

static void test_version_2(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/app.slice/one.service\n");
    set_group_2(s, "/app.slice/one.service", 160 * MIB, 40 * MIB);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(cgroup_limit_bytes(cgroup), 160 * MIB);
    assert_int_equal(room_of(cgroup), 100 * MIB); /* 160 less 40, less an eighth of 160 */
    assert_true(cgroup_has_room(cgroup, 100 * MIB, CGROUP_DAEMON_PAYS));
    assert_false(cgroup_has_room(cgroup, 100 * MIB + 1, CGROUP_DAEMON_PAYS));
    /* What the kernel takes back without harm does not count. */
    fake_host_write(&s->fake, "sys/fs/cgroup/app.slice/one.service/memory.stat",
                    "inactive_anon 5\ninactive_file %llu\n", (unsigned long long)(30 * MIB));
    wait_for_room(cgroup, 130 * MIB);
    cgroup_unref(cgroup);
}

/* What is remembered of one process's text is for the same text alone. */
static void test_process_that_moves(void **state)
{
    struct scene *s = *state;
    char lines[4096];
    set_group_2(s, "/a", 160 * MIB, 40 * MIB);
    set_group_2(s, "/b", 80 * MIB, 40 * MIB);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) { /* twice each */
            set_process(s, PID, i / 2 ? "0::/b\n" : "0::/a\n");
            struct cgroup *cgroup = get(s, PID);
            assert_int_equal(cgroup_limit_bytes(cgroup), i / 2 ? 80 * MIB : 160 * MIB);
            cgroup_unref(cgroup);
        }
        /* One that is too long to be remembered, with other hierarchies before it. */
        size_t n = 0;
        for (int i = 90; i > 10; i--)
            n += (size_t)snprintf(lines + n, sizeof(lines) - n, "%d:name=other%d:/else\n", i, i);
        snprintf(lines + n, sizeof(lines) - n, "0::/b\n");
        set_process(s, PID, lines);
        for (int i = 0; i < 2; i++) {
            struct cgroup *cgroup = get(s, PID);
            assert_int_equal(cgroup_limit_bytes(cgroup), 80 * MIB);
            cgroup_unref(cgroup);
        }
        set_process(s, PID, "nothing of the kind\n");
        assert_null(cgroups_get(&s->cgroups, PID, 0));
        assert_null(cgroups_get(&s->cgroups, PID, 0));
    }
}

static void test_max_is_no_limit(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/a\n");
    set_group_2(s, "/a", 0, 40 * MIB);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(cgroup_limit_bytes(cgroup), UINT64_MAX);
    assert_true(cgroup_has_room(cgroup, UINT64_MAX, CGROUP_PAYS_ITSELF));
    cgroup_unref(cgroup);
}

static void test_the_tightest_of_those_above(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/top/middle/low\n");
    set_group_2(s, "/top/middle/low", 800 * MIB, 10 * MIB);
    set_group_2(s, "/top/middle", 0, 10 * MIB);
    set_group_2(s, "/top", 80 * MIB, 20 * MIB);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(cgroup_limit_bytes(cgroup), 80 * MIB);
    assert_int_equal(room_of(cgroup), 50 * MIB);
    /* A tight one further down. */
    set_group_2(s, "/top/middle/low", 32 * MIB, 10 * MIB);
    wait_for_room(cgroup, 18 * MIB);
    cgroup_unref(cgroup);
    /* The root's, too: a container's own. (It is known, without a limit.) */
    cgroups_deinit(&s->cgroups);
    set_process(s, PID, "0::/\n");
    set_group_2(s, "", 16 * MIB, 0);
    cgroup = get(s, PID);
    assert_int_equal(room_of(cgroup), 14 * MIB);
    cgroup_unref(cgroup);
}

static void test_version_1(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "5:cpu,cpuacct:/x\n4:memory:/box/a\n1:name=systemd:/y\n0::/z\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/a/memory.limit_in_bytes",
                    "9223372036854771712\n"); /* version 1's word for none */
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", "%llu\n",
                    (unsigned long long)(64 * MIB));
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.usage_in_bytes", "%llu\n",
                    (unsigned long long)(20 * MIB));
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.stat",
                    "inactive_file 0\ntotal_inactive_file %llu\n", (unsigned long long)(4 * MIB));
    /* What version 2 says of it elsewhere is not of the memory controller. */
    set_group_2(s, "/z", 2 * MIB, 0);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(cgroup_limit_bytes(cgroup), 64 * MIB);
    assert_int_equal(room_of(cgroup), 40 * MIB);
    cgroup_unref(cgroup);
}

/* Version 2 beside version 1, and the memory controller in the former. */
static void test_hybrid(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "3:cpu:/x\n0::/app\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/unified/cgroup.controllers", "memory\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/unified/app/memory.max", "%llu\n",
                    (unsigned long long)(16 * MIB));
    fake_host_write(&s->fake, "sys/fs/cgroup/unified/app/memory.current", "0\n");
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(room_of(cgroup), 14 * MIB);
    cgroup_unref(cgroup);
    /* Its memory.pressure is there, whoever has the memory controller; not the root's. */
    char path[512];
    fake_host_write(&s->fake, "sys/fs/cgroup/unified/app/memory.pressure", "some\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/unified/memory.pressure", "some\n");
    set_process(s, PID, "4:memory:/m\n0::/app\n");
    assert_true(cgroups_find_pressure(&s->cgroups, PID, path, sizeof(path)));
    assert_string_equal(path,
                        fake_host_path(&s->fake, "sys/fs/cgroup/unified/app/memory.pressure"));
    set_process(s, PID, "4:memory:/m\n0::/\n");
    assert_false(cgroups_find_pressure(&s->cgroups, PID, path, sizeof(path)));
}

static void test_what_cannot_be_read_is_no_limit(void **state)
{
    struct scene *s = *state;
    assert_null(cgroups_get(&s->cgroups, PID, 0)); /* no such process */
    set_process(s, PID, "");
    assert_null(cgroups_get(&s->cgroups, PID, 0));
    set_process(s, PID, "nonsense\n7\n8:\n0::\n0::relative\n");
    assert_null(cgroups_get(&s->cgroups, PID, 0));
    set_process(s, PID, "0::/../elsewhere\n"); /* of another namespace */
    assert_null(cgroups_get(&s->cgroups, PID, 0));
    set_process(s, PID, "0::/not-there\n");
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(cgroup_limit_bytes(cgroup), UINT64_MAX);
    cgroup_unref(cgroup);
    /* A limit without a usage: the limit counts all the same. Nonsense is none. */
    set_process(s, PID, "0::/half\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/half/memory.max", "%llu\n",
                    (unsigned long long)(16 * MIB));
    cgroup = get(s, PID);
    assert_int_equal(room_of(cgroup), 14 * MIB);
    cgroup_unref(cgroup);
    fake_host_write(&s->fake, "sys/fs/cgroup/other/memory.max", "plenty\n");
    set_process(s, PID, "0::/other\n");
    cgroup = get(s, PID);
    assert_int_equal(cgroup_limit_bytes(cgroup), UINT64_MAX);
    cgroup_unref(cgroup);
    assert_true(cgroup_has_room(NULL, UINT64_MAX, CGROUP_PAYS_ITSELF));
}

/* A group that vanishes while its program lives: those above it still bind. */
static void test_a_group_that_goes(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/top/low\n");
    set_group_2(s, "/top", 160 * MIB, 0);
    set_group_2(s, "/top/low", 16 * MIB, 0);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(room_of(cgroup), 14 * MIB);
    fake_host_remove(&s->fake, "sys/fs/cgroup/top/low");
    wait_for_room(cgroup, 140 * MIB);
    cgroup_unref(cgroup);
    set_process(s, PID, "0::/top/low (deleted)\n");
    cgroup = get(s, PID);
    assert_int_equal(room_of(cgroup), 140 * MIB);
    cgroup_unref(cgroup);
}

/* Leased and used together stay within the limit, of the group and of the one above two of them. */
static void test_leased_counts(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/top/one\n");
    set_process(s, OTHER_PID, "0::/top/two\n");
    set_group_2(s, "/top", 80 * MIB, 10 * MIB);
    set_group_2(s, "/top/one", 0, 6 * MIB);
    set_group_2(s, "/top/two", 0, 4 * MIB);
    struct cgroup *one = get(s, PID), *two = get(s, OTHER_PID);
    assert_int_equal(room_of(one), 60 * MIB);
    cgroup_add_leased(one, 40 * MIB, 0);
    assert_int_equal(room_of(one), 20 * MIB);
    assert_int_equal(room_of(two), 20 * MIB);
    cgroup_take(two, 6 * MIB); /* before the kernel shows it */
    assert_int_equal(room_of(one), 14 * MIB);
    wait_for_room(one, 20 * MIB);
    cgroup_remove_leased(one, 40 * MIB, 0);
    assert_int_equal(room_of(two), 60 * MIB);
    cgroup_unref(one);
    cgroup_unref(two);
}

/* Where the daemon is in the group itself, what it has leased is in the kernel's figure already. */
static void test_with_the_daemon_in_it(void **state)
{
    struct scene *s = *state;
    set_process(s, getpid(), "0::/box/daemon\n");
    set_process(s, PID, "0::/box/app\n");
    set_group_2(s, "/box", 160 * MIB, 60 * MIB);
    set_group_2(s, "/box/daemon", 0, 50 * MIB);
    set_group_2(s, "/box/app", 0, 10 * MIB);
    struct cgroup *own = cgroups_get_own(&s->cgroups), *app = get(s, PID);
    assert_int_equal(room_of(own), 80 * MIB);
    cgroup_add_leased(app, 50 * MIB, 0);
    assert_int_equal(room_of(app), 80 * MIB);
    /* And leasing more of the stock takes nothing more. */
    assert_true(cgroup_has_room(app, 1024 * MIB, CGROUP_DAEMON_PAYS));
    cgroup_remove_leased(app, 50 * MIB, 0);
    cgroup_unref(app);
    cgroup_unref(own);
}

/* However deep a program nests its groups, and whatever it writes into them: those above bind, the
 * others cost nothing. */
static void test_deep_groups(void **state)
{
    struct scene *s = *state;
    enum { N_LEVELS = 40, N_SEEN = 12 };
    char group[4 * N_LEVELS] = "", line[sizeof(group) + 8], event[4096];
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(watch >= 0);
    for (int level = 1; level <= N_LEVELS; level++) {
        snprintf(group + strlen(group), sizeof(group) - strlen(group), "/%d", level);
        set_group_2(s, group, level == N_SEEN ? 128 * MIB : level > N_SEEN ? 16 * MIB : 0, 0);
        if (level > N_SEEN) {
            char name[sizeof(group) + 64];
            snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.max", group);
            assert_true(inotify_add_watch(watch, fake_host_path(&s->fake, name), IN_OPEN) >= 0);
        }
    }
    snprintf(line, sizeof(line), "0::%s\n", group);
    set_process(s, PID, line);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(room_of(cgroup), 112 * MIB);
    assert_int_equal(read(watch, event, sizeof(event)), -1); /* nothing was opened */
    struct cgroup *same = get(s, PID);
    assert_ptr_equal(same, cgroup);
    cgroup_unref(same);
    cgroup_unref(cgroup);
    close(watch);
}

/* Programs of a group that come and go: its figures are read once in a while, not once each; and a
 * limit that changes holds soon. */
static void test_many_that_come_and_go(void **state)
{
    struct scene *s = *state;
    char event[4096];
    unsigned n_opened = 0;
    ssize_t n;
    set_process(s, PID, "0::/top/low\n");
    set_group_2(s, "/top", 16384 * MIB, 0);
    set_group_2(s, "/top/low", 8192 * MIB, 0);
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(watch >= 0);
    const char *path = fake_host_path(&s->fake, "sys/fs/cgroup/top/low/memory.max");
    assert_true(inotify_add_watch(watch, path, IN_OPEN) >= 0);
    path = fake_host_path(&s->fake, "sys/fs/cgroup/top/memory.max");
    assert_true(inotify_add_watch(watch, path, IN_OPEN) >= 0);
    uint64_t began_ms = clock_now_ms();
    for (unsigned i = 0; i < 1000; i++) {
        struct cgroup *cgroup = get(s, PID);
        assert_true(cgroup_has_room(cgroup, 2 * MIB, CGROUP_PAYS_ITSELF));
        cgroup_unref(cgroup);
        while ((n = read(watch, event, sizeof(event))) > 0)
            n_opened += (unsigned)((size_t)n / sizeof(struct inotify_event));
    }
    unsigned n_seconds = (unsigned)((clock_now_ms() - began_ms) / 1000);
    assert_true(n_opened > 0 && n_opened <= 2 * (n_seconds + 1));
    close(watch);
    /* Lowered while none is there, and while one is. */
    set_group_2(s, "/top/low", 64 * MIB, 0);
    struct cgroup *cgroup = get(s, PID);
    wait_for_room(cgroup, 56 * MIB);
    set_group_2(s, "/top", 32 * MIB, 0);
    wait_for_room(cgroup, 28 * MIB);
    cgroup_unref(cgroup);
}

/* However many there were, few are remembered, and those above one as long as it. */
static void test_groups_are_forgotten(void **state)
{
    struct scene *s = *state;
    for (unsigned i = 0; i < 1000; i++) {
        char line[64];
        snprintf(line, sizeof(line), "0::/top%u/low\n", i);
        set_process(s, PID, line);
        cgroup_unref(get(s, PID));
        assert_true(s->cgroups.n_unused <= 100);
    }
    cgroups_deinit(&s->cgroups);
    assert_int_equal(s->cgroups.n_unused, 0);
}

static bool count_file(const char *path, void *data)
{
    (void)path;
    ++*(unsigned *)data;
    return true;
}

static void test_events(void **state)
{
    struct scene *s = *state;
    unsigned n_files = 0;
    set_process(s, PID, "0::/top/low\n");
    set_group_2(s, "/top/low", 0, 0);
    struct cgroup *cgroup = get(s, PID);
    assert_int_equal(cgroup_n_events(cgroup), 0);
    /* Before Linux 5.2: the group's own, not those above, which are of others, too. */
    const char *words = "low 100\nhigh 1\nmax 2\noom 4\noom_kill 8\noom_group_kill 16\n";
    fake_host_write(&s->fake, "sys/fs/cgroup/top/low/memory.events", "%s", words);
    fake_host_write(&s->fake, "sys/fs/cgroup/top/memory.events", "%s", words);
    assert_int_equal(cgroup_n_events(cgroup), 7);
    cgroup_visit_event_files(cgroup, count_file, &n_files);
    assert_int_equal(n_files, 1);
    fake_host_write(&s->fake, "sys/fs/cgroup/top/low/memory.events.local", "high 10\nmax 0\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/top/memory.events.local", "max 5\noom 0\n");
    assert_int_equal(cgroup_n_events(cgroup), 15);
    n_files = 0;
    cgroup_visit_event_files(cgroup, count_file, &n_files);
    assert_int_equal(n_files, 2);
    cgroup_unref(cgroup);
    set_process(s, PID, "4:memory:/box\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/box/memory.failcnt", "3\n");
    cgroup = get(s, PID);
    assert_int_equal(cgroup_n_events(cgroup), 3);
    cgroup_unref(cgroup);
}

/* ---- what is leased ---- */

static uint32_t lease_until_refused(struct fixture *f, struct fixture_client *c, int *refusal)
{
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n;
    uint32_t n_slabs = 0;
    while ((*refusal = lease_grant(&f->leases, c->client, 16, 1, 1, grants, &n)) == 0) {
        close(grants[0].fd);
        n_slabs += grants[0].extent->n_slabs;
        assert_true(n_slabs < 200);
    }
    return n_slabs;
}

/* A program whose group may have 64 MiB and uses 16: an eighth is left alone, 40 are leased. */
static void begin_limited(struct scene *s, struct fixture **f_out, uint64_t min_bytes,
                          struct fixture_client *c)
{
    struct fixture *f = fixture_new(min_bytes, 256 * MIB, 60000, 60000);
    f->cgroups.host = &s->fake.host;
    set_process(s, getpid(), "0::/app\n");
    set_group_2(s, "/app", 64 * MIB, 16 * MIB);
    *c = fixture_client_new(f, 1);
    fixture_wait(f, f->pool.n_jobs == 0 && f->pool.fresh_bytes >= min_bytes);
    *f_out = f;
}

static void test_grants_from_the_stock(void **state)
{
    struct scene *s = *state;
    struct fixture *f;
    struct fixture_client c;
    int r;
    begin_limited(s, &f, 128 * MIB, &c);
    uint64_t denied = f->stats.denied_quota_total;
    assert_int_equal(lease_until_refused(f, &c, &r), 20);
    assert_int_equal(r, LEASE_CGROUP_LIMIT);
    assert_int_equal(f->stats.denied_quota_total, denied + 1);
    assert_int_equal(f->stats.cold_leases_total, 0);
    /* The kernel's figure does not grow by these; still they count, for as long as they are leased.
     */
    usleep(25000);
    assert_int_equal(lease_until_refused(f, &c, &r), 0);
    struct extent *extent = list_entry(list_first(&c.client->leases), struct extent, link);
    uint32_t n_given_back = extent->n_slabs;
    assert_true(lease_return(&f->leases, c.client, extent->id));
    assert_int_equal(lease_until_refused(f, &c, &r), n_given_back);
    /* What was reclaimed would be charged to the program if it came back: it counts for as long. */
    extent = list_entry(list_first(&c.client->leases), struct extent, link);
    uint32_t *slot = c.ledger->slots + extent->first_slot;
    ledger_slab_change(slot, *slot, LEDGER_CLIENT, SLAB_ACTIVE);
    ledger_slab_change(slot, *slot, LEDGER_CLIENT, SLAB_IDLE);
    fixture_reclaim_all(f);
    fixture_wait(f, ledger_word_state(ledger_slot_read(slot)) == SLAB_RECLAIMED);
    assert_int_equal(lease_until_refused(f, &c, &r), 0);
    set_group_2(s, "/app", 64 * MIB, 18 * MIB); /* it has come back, and is in the figure now */
    usleep(25000);
    assert_int_equal(lease_until_refused(f, &c, &r), 0);
    fixture_client_end(f, &c);
    fixture_free(f);
}

static void test_grants_made_cold(void **state)
{
    struct scene *s = *state;
    struct fixture *f;
    struct fixture_client c;
    int r;
    begin_limited(s, &f, 0, &c);
    f->pool.settings.max_bytes = 0; /* nothing is ever in stock */
    assert_int_equal(lease_until_refused(f, &c, &r), 20);
    assert_int_equal(r, LEASE_CGROUP_LIMIT);
    usleep(25000); /* untouched for however long, they are promised */
    assert_int_equal(lease_until_refused(f, &c, &r), 0);
    /* Touched, they are in the kernel's figure, and are not counted twice. */
    set_group_2(s, "/app", 64 * MIB, 56 * MIB);
    usleep(25000);
    assert_int_equal(lease_until_refused(f, &c, &r), 0);
    set_group_2(s, "/app", 64 * MIB, 52 * MIB); /* it freed something else */
    usleep(25000);
    assert_int_equal(lease_until_refused(f, &c, &r), 2);
    assert_int_equal(r, LEASE_CGROUP_LIMIT);
    fixture_client_end(f, &c);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_version_2),
        TEST(test_process_that_moves),
        TEST(test_max_is_no_limit),
        TEST(test_the_tightest_of_those_above),
        TEST(test_version_1),
        TEST(test_hybrid),
        TEST(test_what_cannot_be_read_is_no_limit),
        TEST(test_a_group_that_goes),
        TEST(test_leased_counts),
        TEST(test_with_the_daemon_in_it),
        TEST(test_deep_groups),
        TEST(test_many_that_come_and_go),
        TEST(test_groups_are_forgotten),
        TEST(test_events),
        TEST(test_grants_from_the_stock),
        TEST(test_grants_made_cold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
