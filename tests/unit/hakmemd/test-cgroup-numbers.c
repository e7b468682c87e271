/* Control groups by the kernel's number for them: which group a number is believed to be, and when
 * its name is read all the same. */
#include "cgroup-scene.h"

#include <sys/stat.h>

static uint64_t id_of(struct scene *s, const char *group)
{
    char name[256];
    struct stat status;
    snprintf(name, sizeof(name), "sys/fs/cgroup%s", group);
    assert_int_equal(stat(fake_host_path(&s->fake, name), &status), 0);
    return status.st_ino;
}

static void forget_process(struct scene *s, int pid)
{
    char name[64];
    snprintf(name, sizeof(name), "proc/%d", pid);
    fake_host_remove(&s->fake, name);
}

/* Once its name has been read with its number, the number will do. */
static void test_by_number(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/app.slice/one\n");
    set_group_2(s, "/app.slice/one", 160 * MIB, 40 * MIB);
    uint64_t id = id_of(s, "/app.slice/one");
    assert_false(cgroups_go_by_ids(&s->cgroups));
    struct cgroup *first = get(s, PID); /* without one */
    assert_true(cgroups_go_by_ids(&s->cgroups));
    struct cgroup *second = cgroups_get(&s->cgroups, PID, id);
    assert_ptr_equal(second, first);
    forget_process(s, PID);
    assert_null(cgroups_get(&s->cgroups, PID, 0));
    assert_null(cgroups_get(&s->cgroups, PID, id + 1000));
    struct cgroup *third = cgroups_get(&s->cgroups, PID, id);
    assert_ptr_equal(third, first);
    assert_int_equal(room_of(third), 100 * MIB);
    cgroup_unref(first);
    cgroup_unref(second);
    cgroup_unref(third);
    /* Also while nobody refers to it; and then its figures are looked at again. */
    set_group_2(s, "/app.slice/one", 160 * MIB, 80 * MIB);
    first = cgroups_get(&s->cgroups, PID, id);
    assert_non_null(first);
    wait_for_room(first, 60 * MIB);
    cgroup_unref(first);
    /* Now and then the name is read again. */
    s->cgroups.ids_until_ms = clock_now_ms();
    assert_null(cgroups_get(&s->cgroups, PID, id));
}

/* A number is believed only of the folder that has it. */
static void test_number_of_another_group(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/b\n"); /* it has moved there since the number was asked for */
    set_process(s, OTHER_PID, "0::/a\n");
    set_group_2(s, "/a", 160 * MIB, 40 * MIB);
    set_group_2(s, "/b", 80 * MIB, 40 * MIB);
    uint64_t id = id_of(s, "/a");
    struct cgroup *b = cgroups_get(&s->cgroups, PID, id);
    assert_int_equal(cgroup_limit_bytes(b), 80 * MIB);
    struct cgroup *a = cgroups_get(&s->cgroups, OTHER_PID, id);
    assert_int_equal(cgroup_limit_bytes(a), 160 * MIB);
    forget_process(s, PID);
    forget_process(s, OTHER_PID);
    assert_null(cgroups_get(&s->cgroups, PID, id_of(s, "/b")));
    struct cgroup *again = cgroups_get(&s->cgroups, OTHER_PID, id);
    assert_ptr_equal(again, a);
    cgroup_unref(again);
    cgroup_unref(a);
    cgroup_unref(b);
}

/* Another group of the same name has another number; the old one means nothing any more. */
static void test_group_of_the_same_name(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/a\n");
    set_group_2(s, "/a", 160 * MIB, 40 * MIB);
    uint64_t old_id = id_of(s, "/a");
    struct cgroup *a = cgroups_get(&s->cgroups, PID, old_id);
    set_group_2(s, "/new", 160 * MIB, 40 * MIB); /* so that its inode's number is another */
    fake_host_remove(&s->fake, "sys/fs/cgroup/a");
    char from[512];
    snprintf(from, sizeof(from), "%s", fake_host_path(&s->fake, "sys/fs/cgroup/new"));
    assert_int_equal(rename(from, fake_host_path(&s->fake, "sys/fs/cgroup/a")), 0);
    uint64_t id = id_of(s, "/a");
    assert_int_not_equal(id, old_id);
    struct cgroup *again = cgroups_get(&s->cgroups, PID, id);
    assert_ptr_equal(again, a);
    cgroup_unref(again);
    forget_process(s, PID);
    assert_null(cgroups_get(&s->cgroups, PID, old_id));
    again = cgroups_get(&s->cgroups, PID, id);
    assert_ptr_equal(again, a);
    cgroup_unref(again);
    cgroup_unref(a);
}

/* The kernel tells no numbers of version 1's groups. */
static void test_numbers_and_version_1(void **state)
{
    struct scene *s = *state;
    set_process(s, PID, "0::/a\n");
    set_group_2(s, "/a", 0, 0);
    uint64_t id = id_of(s, "/a");
    struct cgroup *a = cgroups_get(&s->cgroups, PID, id);
    set_process(s, OTHER_PID, "4:memory:/tight\n0::/a\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/tight/memory.limit_in_bytes", "83886080\n");
    fake_host_write(&s->fake, "sys/fs/cgroup/memory/tight/memory.usage_in_bytes", "1048576\n");
    s->cgroups.ids_until_ms = 0; /* time has passed */
    struct cgroup *tight = cgroups_get(&s->cgroups, OTHER_PID, id);
    assert_int_equal(cgroup_limit_bytes(tight), 80 * MIB);
    assert_false(cgroups_go_by_ids(&s->cgroups));
    struct cgroup *again = cgroups_get(&s->cgroups, OTHER_PID, id);
    assert_ptr_equal(again, tight);
    cgroup_unref(again);
    cgroup_unref(tight);
    cgroup_unref(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_by_number),
        TEST(test_number_of_another_group),
        TEST(test_group_of_the_same_name),
        TEST(test_numbers_and_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
