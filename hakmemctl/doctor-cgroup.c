/*
 * See doctor.h: the memory limit of the daemon's cgroup. Whatever the daemon has prewarmed is
 * charged there, also once it is leased: a limit that suits a small service ends this one.
 */
#include "hakmemctl/doctor.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "hakmemctl/output.h"

/* cgroup v1 says "no limit" with a number next to this. */
#define NO_LIMIT (UINT64_C(1) << 62)

#define ROOT_BYTES 256

/* The hierarchies as they are usually mounted, below /sys: version 2, version 2 beside 1,
 * version 1. */
struct hierarchy {
    const char *root;
    const char *file;
};
static const struct hierarchy version_2 = {"fs/cgroup", "memory.max"};
static const struct hierarchy version_2_beside = {"fs/cgroup/unified", "memory.max"};
static const struct hierarchy version_1 = {"fs/cgroup/memory", "memory.limit_in_bytes"};

/* The least limit from `cgroup` up to the root; NO_LIMIT where none is set or can be read. */
static uint64_t least_limit(const char *sys, const struct hierarchy *hierarchy, const char *cgroup)
{
    char group[PATH_MAX / 2], path[PATH_MAX];
    uint64_t least = NO_LIMIT, limit;
    snprintf(group, sizeof(group), "%s", cgroup);
    for (char *slash = group + strlen(group); slash; slash = strrchr(group, '/')) {
        *slash = '\0';
        snprintf(path, sizeof(path), "%.*s/%s%s/%s", ROOT_BYTES, sys, hierarchy->root, group,
                 hierarchy->file);
        if (doctor_read_number(path, &limit) == 0 && limit < least)
            least = limit;
    }
    return least;
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t limit_of_process(uint32_t pid, const char *proc, const char *sys)
{
    char path[ROOT_BYTES + 64], line[PATH_MAX / 2];
    uint64_t least = NO_LIMIT;
    snprintf(path, sizeof(path), "%.*s/%" PRIu32 "/cgroup", ROOT_BYTES, proc, pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return NO_LIMIT;
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *cgroup = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!cgroup)
            continue;
        *cgroup++ = '\0';
        if (strcmp(controllers, ":") == 0) {
            least = lesser(least, least_limit(sys, &version_2, cgroup));
            least = lesser(least, least_limit(sys, &version_2_beside, cgroup));
        } else if (strcmp(controllers, ":memory") == 0) {
            least = lesser(least, least_limit(sys, &version_1, cgroup));
        }
    }
    fclose(file);
    return least;
}

void doctor_check_cgroup(struct doctor_report *report, uint32_t daemon_pid,
                         const Hakmem__PoolReply *reply)
{
    uint64_t pool_max_bytes = reply->max_bytes;
    uint64_t limit = limit_of_process(daemon_pid, doctor_root(reply->host_proc, "/proc"),
                                      doctor_root(reply->host_sys, "/sys"));
    if (limit == NO_LIMIT)
        return;
    char size[OUTPUT_CELL_BYTES], pool[OUTPUT_CELL_BYTES];
    bool small = limit < pool_max_bytes;
    doctor_add(
        report, small ? DOCTOR_WARNING : DOCTOR_OK, "cgroup",
        small ? "a greater MemoryMax= (systemctl set-property hakmem.slice MemoryMax=...), or a "
                "smaller pool.max and quota.bytes_per_user"
              : NULL,
        "hakmemd may use %s, stock and leases together; pool.max is %s", output_size(limit, size),
        output_size(pool_max_bytes, pool));
}
