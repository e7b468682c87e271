/*
 * Where the host shows itself: the roots of /proc and /sys. Settings, so that a daemon in a
 * container can be shown its host's, and a test a host that is made up of files.
 */
#ifndef HAKMEMD_HOST_H
#define HAKMEMD_HOST_H

#include <stdbool.h>
#include <stddef.h>

#define HOST_ROOT_BYTES 108

struct host {
    char proc[HOST_ROOT_BYTES]; /* "/proc": PID/cgroup, meminfo, pressure/memory */
    char sys[HOST_ROOT_BYTES];  /* "/sys": fs/cgroup, devices/system/node */
};

extern const struct host host_default;

/* The beginning of a file, as a string. False: it cannot be read. */
bool host_read(const char *path, char *text, size_t capacity);

#endif
