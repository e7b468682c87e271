/*
 * Memory limits of control groups: a client's, which is honoured when it asks for more, and the
 * daemon's own, which what it prewarms is charged to. Version 2 (memory.max) and version 1
 * (memory.limit_in_bytes), also side by side; the group's limit and that of each group above it
 * count. What cannot be read is no limit: a file that may not be read, a group that is gone.
 *
 * What a group is taken to use: what the kernel charged it, less what the kernel takes back without
 * harm; what its programs lease of pages that the daemon pays for, which the kernel does not know
 * of (in a group that the daemon itself is in, or above it, these are in the kernel's figure
 * already); and what they lease of pages that do not exist yet, until the kernel's figure has grown
 * by as much. An eighth of a limit is left alone, for what a program needs besides.
 *
 * The kernel's figures are read again when they are too old for the room that is left; what is
 * taken meanwhile is counted here. A group is known for some seconds after its last client has
 * gone, so that programs which come and go by the thousand cost no reading each.
 *
 * Invariant: what a group is known to lease is the sum over the clients in it and in the groups
 * below it. Groups are shared by the clients in them, and counted. Loop thread only.
 */
#ifndef HAKMEMD_CGROUP_H
#define HAKMEMD_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"
#include "hakmemd/host.h"

#define CGROUPS_N_BUCKETS 256

struct version; /* cgroup.c's own */

/* What a reading of /proc/PID/cgroup came to. */
struct cgroup_finding {
    uint64_t until_ms; /* no longer believed then */
    const struct version *version;
    size_t mount_length;
    char text[512];
    char path[PATH_MAX];
};

struct cgroups {
    const struct host *host;
    struct list buckets[CGROUPS_N_BUCKETS]; /* cgroup.link */
    struct list ids[CGROUPS_N_BUCKETS];     /* cgroup.id_link */
    uint64_t ids_until_ms;                  /* see cgroups_go_by_ids() */
    struct list unused;                     /* cgroup.unused_link, the longest unused first */
    unsigned n_unused;
    struct cgroup_finding last;
};

struct cgroup;

/* Who pays for pages: whoever touched them first. */
enum cgroup_payer {
    CGROUP_PAYS_ITSELF, /* they will be charged to the group by the kernel */
    CGROUP_DAEMON_PAYS, /* they have been charged to the daemon's */
};

/* `host` is borrowed. */
void cgroups_init(struct cgroups *cgroups, const struct host *host);
/* Forgets the groups that nobody refers to any more. Of one that was never initialised: nothing. */
void cgroups_deinit(struct cgroups *cgroups);

/*
 * A reference to the group that the process is in now, or NULL: not to be known. `id` is the number
 * that the kernel has just told of it (peerid.h), or 0: if it is one that was found by a reading
 * before, /proc/PID/cgroup need not be opened, read and taken apart.
 */
struct cgroup *cgroups_get(struct cgroups *cgroups, pid_t pid, uint64_t id);
/* Would such a number be of use? Not with version 1, of which the kernel tells none; so now and
 * then a name is read all the same, to see that it is still so. */
bool cgroups_go_by_ids(const struct cgroups *cgroups);
/* The same of the daemon; the group and all above it are known as those that hold the daemon. */
struct cgroup *cgroups_get_own(struct cgroups *cgroups);
/* Accepts NULL. */
void cgroup_unref(struct cgroup *cgroup);

/* Is there room for so much more? NULL: yes. */
bool cgroup_has_room(struct cgroup *cgroup, uint64_t n_bytes, enum cgroup_payer payer);
/* So much will be touched soon, and is to be counted until it shows. */
void cgroup_take(struct cgroup *cgroup, uint64_t n_bytes);
/* So much is leased to a client of the group, and no longer: pages that the daemon pays for, and
 * such as the group will be charged for when they are touched (leased cold, or reclaimed). */
void cgroup_add_leased(struct cgroup *cgroup, uint64_t paid_bytes, uint64_t unpaid_bytes);
void cgroup_remove_leased(struct cgroup *cgroup, uint64_t paid_bytes, uint64_t unpaid_bytes);

/* The tightest limit of the group and all above it, or UINT64_MAX. */
uint64_t cgroup_limit_bytes(const struct cgroup *cgroup);

/*
 * How often the group or one above it has met a limit or a high mark, or was out of memory: of
 * memory.events.local (of the group itself: memory.events, before Linux 5.2), or of version 1's
 * memory.failcnt. It only ever grows, but for groups that go.
 */
uint64_t cgroup_n_events(const struct cgroup *cgroup);
/* Calls visit() with the path of each file of these, while it returns true. Version 2 only: the
 * kernel tells inotify of changes to them, and not of those to memory.failcnt. */
void cgroup_visit_event_files(const struct cgroup *cgroup,
                              bool (*visit)(const char *path, void *data), void *data);

/* The path of the process's own memory.pressure (version 2, also where version 1 has the memory
 * controller). False: there is none, or it would be the whole host's. */
bool cgroups_find_pressure(const struct cgroups *cgroups, pid_t pid, char *path, size_t capacity);

#endif
