/* See cgroup.h. */
#include "hakmemd/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hakmemd/clock.h"

#define FRESH_MS        20   /* how old a figure may be where there is a limit */
#define FRESH_LOOSE_MS  5000 /* and where there was none */
#define RESERVE_SHIFT   3    /* an eighth of the limit */
#define UNLIMITED_BYTES (UINT64_C(1) << 60)

/* Where each version keeps its figures. */
struct hierarchy {
    const char *mount;
    const char *limit;
    const char *usage;
    const char *cache_line; /* of memory.stat: what the kernel takes back without harm */
};

static const struct hierarchy version_1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                           "memory.usage_in_bytes", "total_inactive_file %llu"};
static const struct hierarchy version_2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                           "inactive_file %llu"};

struct cgroup {
    struct list link; /* cgroups.all */
    unsigned n_refs;
    const struct hierarchy *hierarchy;
    uint64_t limit_bytes; /* the tightest, UINT64_MAX: none */
    uint64_t room_bytes;  /* when last read, less what was taken since */
    uint64_t read_ms;
    char path[];
};

void cgroups_init(struct cgroups *cgroups)
{
    list_init(&cgroups->all);
}

static bool read_text(const char *path, char *text, size_t capacity)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, capacity - 1);
    close(fd);
    if (n < 0)
        return false;
    text[n] = '\0';
    return true;
}

/* The group's figure, UINT64_MAX for "max", for none, and for what comes to none. */
static uint64_t read_figure(const struct hierarchy *hierarchy, const char *group, const char *name)
{
    char path[PATH_MAX], text[64];
    unsigned long long value;
    int n = snprintf(path, sizeof(path), "%s%s/%s", hierarchy->mount, group, name);
    if (n < 0 || (size_t)n >= sizeof(path) || !read_text(path, text, sizeof(text)) ||
        sscanf(text, "%llu", &value) != 1 || value >= UNLIMITED_BYTES)
        return UINT64_MAX;
    return value;
}

static uint64_t read_cache(const struct hierarchy *hierarchy, const char *group)
{
    char path[PATH_MAX], line[128];
    unsigned long long value = 0;
    int n = snprintf(path, sizeof(path), "%s%s/memory.stat", hierarchy->mount, group);
    FILE *file = n > 0 && (size_t)n < sizeof(path) ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, hierarchy->cache_line, &value) == 1)
            break;
    fclose(file);
    return value;
}

static void read_group(struct cgroup *cgroup, const char *group)
{
    uint64_t limit = read_figure(cgroup->hierarchy, group, cgroup->hierarchy->limit);
    if (limit == UINT64_MAX)
        return;
    if (limit < cgroup->limit_bytes)
        cgroup->limit_bytes = limit;
    uint64_t usage = read_figure(cgroup->hierarchy, group, cgroup->hierarchy->usage);
    uint64_t cache = read_cache(cgroup->hierarchy, group);
    if (usage == UINT64_MAX)
        return;
    usage -= cache < usage ? cache : usage;
    usage += limit >> RESERVE_SHIFT;
    uint64_t room = limit > usage ? limit - usage : 0;
    if (room < cgroup->room_bytes)
        cgroup->room_bytes = room;
}

/* The group and each above it, the root included: in a container the root is the container's. */
static void refresh(struct cgroup *cgroup)
{
    char group[PATH_MAX];
    cgroup->limit_bytes = UINT64_MAX;
    cgroup->room_bytes = UINT64_MAX;
    cgroup->read_ms = clock_now_ms();
    snprintf(group, sizeof(group), "%s", cgroup->path);
    for (;;) {
        read_group(cgroup, group);
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

/* Version 1's memory controller if it is there, else version 2's group: "N:memory:/path",
 * "0::/path". */
static const struct hierarchy *find_path(pid_t pid, char *path, size_t capacity)
{
    char file[48], text[4096];
    const struct hierarchy *hierarchy = NULL;
    snprintf(file, sizeof(file), "/proc/%d/cgroup", (int)pid);
    if (!read_text(file, text, sizeof(text)))
        return NULL;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        bool is_memory = strcmp(controllers + 1, "memory") == 0;
        if (!is_memory && (controllers[1] != '\0' || hierarchy))
            continue;
        snprintf(path, capacity, "%s", strcmp(group, "/") == 0 ? "" : group);
        hierarchy = is_memory ? &version_1 : &version_2;
        if (is_memory)
            break;
    }
    return hierarchy;
}

struct cgroup *cgroups_get(struct cgroups *cgroups, pid_t pid)
{
    char path[PATH_MAX];
    const struct hierarchy *hierarchy = find_path(pid, path, sizeof(path));
    if (!hierarchy)
        return NULL;
    list_for_each(it, &cgroups->all)
    {
        struct cgroup *cgroup = list_entry(it, struct cgroup, link);
        if (cgroup->hierarchy == hierarchy && strcmp(cgroup->path, path) == 0) {
            cgroup->n_refs++;
            return cgroup;
        }
    }
    struct cgroup *cgroup = calloc(1, sizeof(*cgroup) + strlen(path) + 1);
    if (!cgroup)
        return NULL;
    cgroup->n_refs = 1;
    cgroup->hierarchy = hierarchy;
    strcpy(cgroup->path, path);
    list_push_front(&cgroups->all, &cgroup->link);
    refresh(cgroup);
    return cgroup;
}

void cgroup_unref(struct cgroup *cgroup)
{
    if (!cgroup || --cgroup->n_refs > 0)
        return;
    list_remove(&cgroup->link);
    free(cgroup);
}

bool cgroup_has_room(struct cgroup *cgroup, uint64_t n_bytes)
{
    if (!cgroup)
        return true;
    uint64_t fresh_ms = cgroup->limit_bytes == UINT64_MAX ? FRESH_LOOSE_MS : FRESH_MS;
    if (clock_now_ms() - cgroup->read_ms >= fresh_ms)
        refresh(cgroup);
    return n_bytes <= cgroup->room_bytes;
}

void cgroup_take(struct cgroup *cgroup, uint64_t n_bytes)
{
    if (!cgroup || cgroup->room_bytes == UINT64_MAX)
        return;
    cgroup->room_bytes -= n_bytes < cgroup->room_bytes ? n_bytes : cgroup->room_bytes;
}

uint64_t cgroup_limit_bytes(const struct cgroup *cgroup)
{
    return cgroup ? cgroup->limit_bytes : UINT64_MAX;
}
