/* See cgroup.h. */
#include "hakmemd/cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmemd/clock.h"

/* How old a figure may be where there is no limit; where there is one, as long as a program would
 * take to touch what room is left, at ROOM_PER_MS, within bounds. */
#define FRESH_LOOSE_MS 5000
#define FRESH_MIN_MS   20
#define FRESH_MAX_MS   1000
#define ROOM_PER_MS    ((uint64_t)4 << 20)
/* Groups without a client are remembered for so long, and at most so many. */
#define UNUSED_MS 5000
/* After a group of version 2 has been found, others are taken to be of it, too, for so long. */
#define IDS_MS 5000
/* Where version 2 is mounted is looked up so often. */
#define LAST_MS       5000
#define N_UNUSED_MAX  64
#define RESERVE_SHIFT 3 /* an eighth of the limit */
/* Looked at, from the top: the limits that others have set for a program are there. To whom a group
 * is delegated may nest thousands in it, with a limit each that has to be read again and again. */
#define N_LEVELS_MAX    12
#define UNLIMITED_BYTES (UINT64_C(1) << 60)
#define MOUNT_BYTES     (HOST_ROOT_BYTES + 64)
#define TEXT_BYTES      8192 /* of /proc/PID/cgroup */

/* The names of each version's figures. */
struct version {
    const char *limit;
    const char *usage;
    const char *cache_line; /* of memory.stat: what the kernel takes back without harm */
};

static const struct version version_1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
                                         "total_inactive_file %llu"};
static const struct version version_2 = {"memory.max", "memory.current", "inactive_file %llu"};

struct cgroup {
    struct list link;        /* cgroups.buckets[] */
    struct list unused_link; /* cgroups.unused, while nobody refers to it */
    struct list id_link;     /* cgroups.ids[], once the number is known: */
    uint64_t id;             /* of its folder, and the kernel's for the group */
    uint64_t unused_ms;      /* since when */
    struct cgroups *cgroups;
    struct cgroup *parent; /* holds a reference; NULL: the mount's root */
    unsigned n_refs;
    bool holds_daemon;
    const struct version *version;
    uint64_t limit_bytes;    /* its own; UINT64_MAX: none */
    uint64_t usage_bytes;    /* when last read */
    uint64_t taken_bytes;    /* since then */
    uint64_t leased_bytes;   /* of pages that the daemon pays for */
    uint64_t unpaid_bytes;   /* leased, too, but of pages that the group pays for once they exist */
    uint64_t promised_bytes; /* of these, what the kernel's figure does not show yet */
    uint64_t read_ms;
    size_t mount_length; /* of `path`: where the group's own name begins */
    char path[];         /* its folder */
};

void cgroups_init(struct cgroups *cgroups, const struct host *host)
{
    cgroups->host = host;
    for (size_t i = 0; i < CGROUPS_N_BUCKETS; i++) {
        list_init(&cgroups->buckets[i]);
        list_init(&cgroups->ids[i]);
    }
    cgroups->ids_until_ms = 0;
    cgroups->last.until_ms = 0;
    list_init(&cgroups->unused);
    cgroups->n_unused = 0;
}

/* ---- the kernel's figures ---- */

static bool file_of(const struct cgroup *cgroup, const char *name, char path[PATH_MAX])
{
    int n = snprintf(path, PATH_MAX, "%s/%s", cgroup->path, name);
    return n > 0 && n < PATH_MAX;
}

/* UINT64_MAX for "max", for none, and for what comes to none. */
static uint64_t read_figure(const struct cgroup *cgroup, const char *name)
{
    char path[PATH_MAX], text[64];
    unsigned long long value;
    if (!file_of(cgroup, name, path) || !host_read(path, text, sizeof(text)) ||
        sscanf(text, "%llu", &value) != 1 || value >= UNLIMITED_BYTES)
        return UINT64_MAX;
    return value;
}

static uint64_t read_cache(const struct cgroup *cgroup)
{
    char path[PATH_MAX], line[128];
    unsigned long long value = 0;
    FILE *file = file_of(cgroup, "memory.stat", path) ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, cgroup->version->cache_line, &value) == 1)
            break;
    fclose(file);
    return value;
}

/* So much has come to show, or is not to come any more. */
static void keep_promise(struct cgroup *cgroup, uint64_t n_bytes)
{
    cgroup->promised_bytes -= n_bytes < cgroup->promised_bytes ? n_bytes : cgroup->promised_bytes;
}

static void refresh(struct cgroup *cgroup)
{
    uint64_t before = cgroup->usage_bytes;
    cgroup->read_ms = clock_now_ms();
    cgroup->taken_bytes = 0;
    cgroup->usage_bytes = 0;
    cgroup->limit_bytes = read_figure(cgroup, cgroup->version->limit);
    if (cgroup->limit_bytes == UINT64_MAX)
        return;
    uint64_t usage = read_figure(cgroup, cgroup->version->usage);
    uint64_t cache = read_cache(cgroup);
    if (usage != UINT64_MAX)
        cgroup->usage_bytes = usage > cache ? usage - cache : 0;
    if (cgroup->usage_bytes > before)
        keep_promise(cgroup, cgroup->usage_bytes - before);
}

static uint64_t add_capped(uint64_t a, uint64_t b)
{
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* What counts against the limit: there is one. */
static uint64_t used_bytes(const struct cgroup *cgroup)
{
    uint64_t used = add_capped(cgroup->usage_bytes, cgroup->taken_bytes);
    if (!cgroup->holds_daemon)
        used = add_capped(used, cgroup->leased_bytes);
    used = add_capped(used, cgroup->promised_bytes);
    return add_capped(used, cgroup->limit_bytes >> RESERVE_SHIFT);
}

static uint64_t fresh_ms(const struct cgroup *cgroup)
{
    if (cgroup->limit_bytes == UINT64_MAX)
        return FRESH_LOOSE_MS;
    uint64_t used = used_bytes(cgroup);
    uint64_t ms = used < cgroup->limit_bytes ? (cgroup->limit_bytes - used) / ROOM_PER_MS : 0;
    return ms < FRESH_MIN_MS ? FRESH_MIN_MS : ms > FRESH_MAX_MS ? FRESH_MAX_MS : ms;
}

static void refresh_if_old(struct cgroup *cgroup)
{
    if (clock_now_ms() - cgroup->read_ms >= fresh_ms(cgroup))
        refresh(cgroup);
}

/* ---- finding a process's group ---- */

/* One line of /proc/PID/cgroup: "4:memory:/path" of version 1, "0::/path" of version 2. */
struct membership {
    const char *controllers; /* empty: version 2 */
    char *group;             /* "" for the root */
};

static bool parse_line(char *line, struct membership *membership_out)
{
    char *controllers = strchr(line, ':');
    char *group = controllers ? strchr(controllers + 1, ':') : NULL;
    /* "/../path": outside of what we see, in another namespace. */
    if (!group || group[1] != '/' || strncmp(group + 1, "/..", 3) == 0)
        return false;
    *group++ = '\0';
    char *end = strstr(group, " (deleted)"); /* its process outlives it; those above it are there */
    if (end)
        *end = '\0';
    *membership_out = (struct membership){controllers + 1, strcmp(group, "/") == 0 ? "" : group};
    return true;
}

static bool names_memory(const char *controllers)
{
    size_t n;
    for (const char *name = controllers; *name; name += n + (name[n] == ',')) {
        n = strcspn(name, ",");
        if (n == strlen("memory") && strncmp(name, "memory", n) == 0)
            return true;
    }
    return false;
}

/* Version 2 is mounted at the top, or, beside version 1, in a folder of its own. */
static void find_mount_2(const struct cgroups *cgroups, char mount[MOUNT_BYTES])
{
    char probe[MOUNT_BYTES + 32];
    snprintf(mount, MOUNT_BYTES, "%s/fs/cgroup/unified", cgroups->host->sys);
    snprintf(probe, sizeof(probe), "%s/cgroup.controllers", mount);
    if (access(probe, F_OK) < 0)
        snprintf(mount, MOUNT_BYTES, "%s/fs/cgroup", cgroups->host->sys);
}

static bool read_memberships(const struct cgroups *cgroups, pid_t pid, char text[TEXT_BYTES])
{
    char file[HOST_ROOT_BYTES + 32];
    snprintf(file, sizeof(file), "%s/%d/cgroup", cgroups->host->proc, (int)pid);
    return host_read(file, text, TEXT_BYTES);
}

/*
 * The group, by what read_memberships() gave, which is taken apart: in version 1's hierarchy of the
 * memory controller if there is one (unless `only_2`), else in version 2's. NULL: it is in none
 * that we see. The path's first *mount_length bytes are the mount.
 */
static const struct version *find_group(const struct cgroups *cgroups, char *text, bool only_2,
                                        char path[PATH_MAX], size_t *mount_length)
{
    char mount[MOUNT_BYTES];
    const struct version *version = NULL;
    struct membership member;
    char *rest = text, *line;
    while (version != &version_1 && (line = strsep(&rest, "\n"))) {
        if (!parse_line(line, &member))
            continue;
        if (!only_2 && names_memory(member.controllers)) {
            version = &version_1;
            snprintf(mount, sizeof(mount), "%s/fs/cgroup/%.48s", cgroups->host->sys,
                     member.controllers);
        } else if (!version && member.controllers[0] == '\0') {
            version = &version_2;
            find_mount_2(cgroups, mount);
        } else {
            continue;
        }
        *mount_length = strlen(mount);
        int n = snprintf(path, PATH_MAX, "%s%s", mount, member.group);
        if (n < 0 || n >= PATH_MAX)
            return NULL;
    }
    return version;
}

/* The process's group, as find_group(); for the same text as the last time, as it was found then:
 * programs that come one after the other are mostly of one group. */
static const struct version *find_group_of(struct cgroups *cgroups, pid_t pid, char path[PATH_MAX],
                                           size_t *mount_length)
{
    struct cgroup_finding *last = &cgroups->last;
    char text[TEXT_BYTES];
    if (!read_memberships(cgroups, pid, text))
        return NULL;
    uint64_t now_ms = clock_now_ms();
    if (now_ms >= last->until_ms || strcmp(text, last->text) != 0) {
        size_t n_bytes = strlen(text) + 1;
        bool is_short = n_bytes <= sizeof(last->text);
        if (is_short)
            memcpy(last->text, text, n_bytes);
        last->version = find_group(cgroups, text, false, last->path, &last->mount_length);
        last->until_ms = is_short ? now_ms + LAST_MS : 0;
    }
    if (last->version) {
        strcpy(path, last->path);
        *mount_length = last->mount_length;
    }
    return last->version;
}

bool cgroups_find_pressure(const struct cgroups *cgroups, pid_t pid, char *path, size_t capacity)
{
    char text[TEXT_BYTES], group[PATH_MAX];
    size_t mount_length;
    if (!read_memberships(cgroups, pid, text) ||
        !find_group(cgroups, text, true, group, &mount_length) || group[mount_length] == '\0')
        return false;
    int n = snprintf(path, capacity, "%s/memory.pressure", group);
    return n > 0 && (size_t)n < capacity && access(path, F_OK) == 0;
}

/* ---- the tree of groups ---- */

static struct list *bucket(struct cgroups *cgroups, const char *path)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *path; path++)
        hash = (hash ^ (unsigned char)*path) * 16777619u;
    return &cgroups->buckets[hash % CGROUPS_N_BUCKETS];
}

static struct cgroup *find(struct cgroups *cgroups, const char *path)
{
    list_for_each(it, bucket(cgroups, path))
    {
        struct cgroup *cgroup = list_entry(it, struct cgroup, link);
        if (strcmp(cgroup->path, path) == 0)
            return cgroup;
    }
    return NULL;
}

static struct cgroup *make(struct cgroups *cgroups, const struct version *version, const char *path,
                           size_t mount_length)
{
    struct cgroup *cgroup = calloc(1, sizeof(*cgroup) + strlen(path) + 1);
    if (!cgroup)
        return NULL;
    cgroup->cgroups = cgroups;
    cgroup->version = version;
    cgroup->mount_length = mount_length;
    strcpy(cgroup->path, path);
    list_init(&cgroup->unused_link);
    list_init(&cgroup->id_link);
    list_push_front(bucket(cgroups, path), &cgroup->link);
    refresh(cgroup);
    return cgroup;
}

static void use_again(struct cgroup *cgroup)
{
    list_remove(&cgroup->unused_link);
    cgroup->cgroups->n_unused--;
    for (; cgroup; cgroup = cgroup->parent)
        refresh_if_old(cgroup);
}

/* The one longest unused; its parent may be unused from now on. */
static void forget_one(struct cgroups *cgroups)
{
    struct cgroup *cgroup = list_entry(cgroups->unused.next, struct cgroup, unused_link);
    list_remove(&cgroup->unused_link);
    cgroups->n_unused--;
    list_remove(&cgroup->link);
    list_remove(&cgroup->id_link);
    cgroup_unref(cgroup->parent);
    free(cgroup);
}

static void forget_old(struct cgroups *cgroups)
{
    uint64_t now_ms = clock_now_ms();
    while (!list_is_empty(&cgroups->unused)) {
        const struct cgroup *first = list_entry(cgroups->unused.next, struct cgroup, unused_link);
        if (cgroups->n_unused <= N_UNUSED_MAX && now_ms - first->unused_ms < UNUSED_MS)
            break;
        forget_one(cgroups);
    }
}

void cgroups_deinit(struct cgroups *cgroups)
{
    while (cgroups->host && !list_is_empty(&cgroups->unused))
        forget_one(cgroups);
}

/*
 * The group and each above it, the root included: in a container the root is the container's. From
 * the bottom up; a new group takes the reference that was taken of its parent.
 */
static struct cgroup *get_by_path(struct cgroups *cgroups, const struct version *version,
                                  char *path, size_t mount_length)
{
    struct cgroup *lowest = NULL, *below = NULL;
    for (;;) {
        struct cgroup *cgroup = find(cgroups, path);
        bool is_known = cgroup != NULL;
        if (!cgroup)
            cgroup = make(cgroups, version, path, mount_length);
        if (!cgroup) {
            cgroup_unref(lowest);
            return NULL;
        }
        if (cgroup->n_refs++ == 0 && is_known)
            use_again(cgroup);
        if (below)
            below->parent = cgroup;
        if (!lowest)
            lowest = cgroup;
        below = cgroup;
        char *slash = strrchr(path + mount_length, '/');
        if (is_known || !slash)
            return lowest;
        *slash = '\0';
    }
}

static void cut_to_levels(char *group)
{
    for (unsigned n = 0; group; n++) {
        group = strchr(n == 0 ? group : group + 1, '/');
        if (group && n == N_LEVELS_MAX) {
            *group = '\0';
            return;
        }
    }
}

bool cgroups_go_by_ids(const struct cgroups *cgroups)
{
    return clock_now_ms() < cgroups->ids_until_ms;
}

static struct cgroup *find_by_id(struct cgroups *cgroups, uint64_t id)
{
    list_for_each(it, &cgroups->ids[id % CGROUPS_N_BUCKETS])
    {
        struct cgroup *cgroup = list_entry(it, struct cgroup, id_link);
        if (cgroup->id == id)
            return cgroup;
    }
    return NULL;
}

/* If it is really this one: the process may have moved meanwhile, or be in a group that is nested
 * too deep; and a folder of the same name may have been another group. */
static void note_id(struct cgroup *cgroup, uint64_t id)
{
    struct stat status;
    if (cgroup->id == id || stat(cgroup->path, &status) < 0 || status.st_ino != id)
        return;
    list_remove(&cgroup->id_link);
    cgroup->id = id;
    list_push_front(&cgroup->cgroups->ids[id % CGROUPS_N_BUCKETS], &cgroup->id_link);
}

static struct cgroup *get_by_name(struct cgroups *cgroups, pid_t pid, uint64_t id)
{
    char path[PATH_MAX];
    size_t mount_length;
    const struct version *version = find_group_of(cgroups, pid, path, &mount_length);
    if (!version)
        return NULL;
    cut_to_levels(path + mount_length);
    struct cgroup *cgroup = get_by_path(cgroups, version, path, mount_length);
    cgroups->ids_until_ms = version == &version_2 ? clock_now_ms() + IDS_MS : 0;
    if (cgroup && version == &version_2 && id != 0)
        note_id(cgroup, id);
    return cgroup;
}

struct cgroup *cgroups_get(struct cgroups *cgroups, pid_t pid, uint64_t id)
{
    struct cgroup *cgroup = id != 0 && cgroups_go_by_ids(cgroups) ? find_by_id(cgroups, id) : NULL;
    if (!cgroup)
        cgroup = get_by_name(cgroups, pid, id);
    else if (cgroup->n_refs++ == 0)
        use_again(cgroup);
    forget_old(cgroups);
    return cgroup;
}

struct cgroup *cgroups_get_own(struct cgroups *cgroups)
{
    struct cgroup *own = cgroups_get(cgroups, getpid(), 0);
    for (struct cgroup *cgroup = own; cgroup; cgroup = cgroup->parent)
        cgroup->holds_daemon = true;
    return own;
}

void cgroup_unref(struct cgroup *cgroup)
{
    if (!cgroup || --cgroup->n_refs > 0)
        return;
    check_or_trap(cgroup->leased_bytes == 0 && cgroup->unpaid_bytes == 0);
    cgroup->unused_ms = clock_now_ms();
    list_push_back(&cgroup->cgroups->unused, &cgroup->unused_link);
    cgroup->cgroups->n_unused++;
}

/* ---- room ---- */

static bool level_has_room(struct cgroup *cgroup, uint64_t n_bytes, enum cgroup_payer payer)
{
    if (payer == CGROUP_DAEMON_PAYS && cgroup->holds_daemon)
        return true; /* they count there already */
    refresh_if_old(cgroup);
    return cgroup->limit_bytes == UINT64_MAX ||
           add_capped(used_bytes(cgroup), n_bytes) <= cgroup->limit_bytes;
}

bool cgroup_has_room(struct cgroup *cgroup, uint64_t n_bytes, enum cgroup_payer payer)
{
    for (; cgroup; cgroup = cgroup->parent)
        if (!level_has_room(cgroup, n_bytes, payer))
            return false;
    return true;
}

void cgroup_take(struct cgroup *cgroup, uint64_t n_bytes)
{
    for (; cgroup; cgroup = cgroup->parent)
        cgroup->taken_bytes = add_capped(cgroup->taken_bytes, n_bytes);
}

void cgroup_add_leased(struct cgroup *cgroup, uint64_t paid_bytes, uint64_t unpaid_bytes)
{
    for (; cgroup; cgroup = cgroup->parent) {
        cgroup->leased_bytes += paid_bytes;
        cgroup->unpaid_bytes += unpaid_bytes;
        cgroup->promised_bytes += unpaid_bytes;
    }
}

void cgroup_remove_leased(struct cgroup *cgroup, uint64_t paid_bytes, uint64_t unpaid_bytes)
{
    for (; cgroup; cgroup = cgroup->parent) {
        check_or_trap(cgroup->leased_bytes >= paid_bytes && cgroup->unpaid_bytes >= unpaid_bytes);
        cgroup->leased_bytes -= paid_bytes;
        cgroup->unpaid_bytes -= unpaid_bytes;
        if (cgroup->promised_bytes > cgroup->unpaid_bytes)
            cgroup->promised_bytes = cgroup->unpaid_bytes;
    }
}

uint64_t cgroup_limit_bytes(const struct cgroup *cgroup)
{
    uint64_t least = UINT64_MAX;
    for (; cgroup; cgroup = cgroup->parent)
        if (cgroup->limit_bytes < least)
            least = cgroup->limit_bytes;
    return least;
}

/* ---- events ---- */

/*
 * A group's own events: those of the groups below it are not the daemon's business, and what
 * happens to those above it is, since their limits bind the daemon.
 */
static bool event_file_of(const struct cgroup *cgroup, bool is_lowest, char path[PATH_MAX])
{
    if (!file_of(cgroup, "memory.events.local", path))
        return false;
    if (access(path, R_OK) == 0)
        return true;
    return is_lowest && file_of(cgroup, "memory.events", path) && access(path, R_OK) == 0;
}

static uint64_t n_events_in(const char *path)
{
    static const char *const names[] = {"high ", "max ", "oom "};
    char text[512];
    uint64_t n = 0;
    if (!host_read(path, text, sizeof(text)))
        return 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")))
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            if (strncmp(line, names[i], strlen(names[i])) == 0)
                n += strtoull(line + strlen(names[i]), NULL, 10);
    return n;
}

uint64_t cgroup_n_events(const struct cgroup *cgroup)
{
    char path[PATH_MAX];
    uint64_t n = 0;
    for (const struct cgroup *it = cgroup; it; it = it->parent) {
        if (it->version == &version_1) {
            uint64_t n_failed = read_figure(it, "memory.failcnt");
            n += n_failed == UINT64_MAX ? 0 : n_failed;
        } else if (event_file_of(it, it == cgroup, path)) {
            n += n_events_in(path);
        }
    }
    return n;
}

void cgroup_visit_event_files(const struct cgroup *cgroup,
                              bool (*visit)(const char *path, void *data), void *data)
{
    char path[PATH_MAX];
    for (const struct cgroup *it = cgroup; it; it = it->parent)
        if (it->version == &version_2 && event_file_of(it, it == cgroup, path) &&
            !visit(path, data))
            return;
}
