/*
 * Memory limits of control groups: a client's, which is honoured when it asks for more, and the
 * daemon's own, which what it prewarms is charged to. Version 2 (memory.max) and version 1
 * (memory.limit_in_bytes); the tightest of the group and all above it counts. What cannot be read
 * is no limit.
 *
 * Room is read again at most every few milliseconds; what is taken meanwhile is counted here. An
 * eighth of a limit is left alone, for what a program needs besides and for what is touched before
 * it shows.
 *
 * Groups are shared by the clients in them, and counted. Loop thread only.
 */
#ifndef HAKMEMD_CGROUP_H
#define HAKMEMD_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/list.h"

struct cgroups {
    struct list all; /* cgroup.link */
};

struct cgroup;

void cgroups_init(struct cgroups *cgroups);

/* A reference to the group that the process is in now, or NULL: not to be known. */
struct cgroup *cgroups_get(struct cgroups *cgroups, pid_t pid);
/* Accepts NULL. */
void cgroup_unref(struct cgroup *cgroup);

/* Is there room for so much more? NULL: yes. */
bool cgroup_has_room(struct cgroup *cgroup, uint64_t n_bytes);
/* So much has been taken. */
void cgroup_take(struct cgroup *cgroup, uint64_t n_bytes);

/* The tightest limit, or UINT64_MAX. */
uint64_t cgroup_limit_bytes(const struct cgroup *cgroup);

#endif
