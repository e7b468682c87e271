/* A tree of control groups and processes made of files, for the tests of cgroup.c. */
#ifndef HAKMEM_TESTS_UNIT_HAKMEMD_CGROUP_SCENE_H
#define HAKMEM_TESTS_UNIT_HAKMEMD_CGROUP_SCENE_H

#include "fake-host.h"
#include "fixture.h"

#define PID       4242
#define OTHER_PID 4243

struct scene {
    struct fake_host fake;
    struct cgroups cgroups;
};

static inline int setup(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    fake_host_init(&s->fake);
    cgroups_init(&s->cgroups, &s->fake.host);
    *state = s;
    return 0;
}

static inline int teardown(void **state)
{
    struct scene *s = *state;
    cgroups_deinit(&s->cgroups);
    for (size_t i = 0; i < CGROUPS_N_BUCKETS; i++)
        assert_true(list_is_empty(&s->cgroups.buckets[i]) && /* every reference was returned */
                    list_is_empty(&s->cgroups.ids[i]));
    fake_host_deinit(&s->fake);
    free(s);
    return 0;
}

static inline void set_process(struct scene *s, int pid, const char *lines)
{
    char name[64];
    snprintf(name, sizeof(name), "proc/%d/cgroup", pid);
    fake_host_write(&s->fake, name, "%s", lines);
}

/* A group of version 2. A limit of 0 stands for "max". */
static inline void set_group_2(struct scene *s, const char *group, uint64_t limit, uint64_t usage)
{
    char name[256];
    fake_host_write(&s->fake, "sys/fs/cgroup/cgroup.controllers", "memory\n");
    snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.max", group);
    if (limit == 0)
        fake_host_write(&s->fake, name, "max\n");
    else
        fake_host_write(&s->fake, name, "%llu\n", (unsigned long long)limit);
    snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.current", group);
    fake_host_write(&s->fake, name, "%llu\n", (unsigned long long)usage);
    snprintf(name, sizeof(name), "sys/fs/cgroup%s/memory.stat", group);
    fake_host_write(&s->fake, name, "anon 1\ninactive_file 0\nactive_file 7\n");
}

static inline struct cgroup *get(struct scene *s, int pid)
{
    struct cgroup *cgroup = cgroups_get(&s->cgroups, pid, 0);
    assert_non_null(cgroup);
    return cgroup;
}

/* Room of 2 MiB steps, both for what it pays and for what the daemon pays. */
static inline uint64_t room_of(struct cgroup *cgroup)
{
    uint64_t n = 0;
    while (cgroup_has_room(cgroup, n + 2 * MIB, CGROUP_PAYS_ITSELF) && n < 1024 * MIB)
        n += 2 * MIB;
    return n;
}

/* Figures that change are seen within some milliseconds. */
static inline void wait_for_room(struct cgroup *cgroup, uint64_t n_bytes)
{
    uint64_t until_ms = clock_now_ms() + FIXTURE_PATIENCE_MS;
    while (room_of(cgroup) != n_bytes) {
        assert_true(clock_now_ms() < until_ms);
        usleep(1000);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
