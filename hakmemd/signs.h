/*
 * The signs of memory pressure, and where they are looked for.
 *
 *   of the host                PSI (/proc/pressure/memory), else MemAvailable every few seconds
 *   of our own control group   what $MEMORY_PRESSURE_WATCH names, else PSI (memory.pressure), else
 *                              memory.events of version 2, else memory.failcnt of version 1 every
 *                              few seconds
 *
 * A PSI trigger that cannot be had (no PSI, or Linux before 6.4 without CAP_SYS_RESOURCE), or that
 * is lost, is replaced by the next best. systemd's protocol is that of its MEMORY_PRESSURE.md: the
 * path is a PSI file, a FIFO or a stream socket, and what $MEMORY_PRESSURE_WRITE holds is written
 * to it first; /dev/null: no PSI is to be watched.
 *
 * Loop thread only. Says what it saw; what follows from it is pressure.c's.
 */
#ifndef HAKMEMD_SIGNS_H
#define HAKMEMD_SIGNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hakmemd/cgroup.h"
#include "hakmemd/host.h"

struct event;
struct event_base;

enum sign_scope { SIGN_HOST, SIGN_CGROUP, SIGN_N_SCOPES };
enum sign_kind { SIGN_NONE, SIGN_PSI, SIGN_WATCH, SIGN_MEMINFO, SIGN_EVENTS, SIGN_FAILCNT };

struct signs;

/* What is watched for one scope. */
struct sign_source {
    struct signs *signs;
    enum sign_scope scope;
    enum sign_kind kind;
    int fd;       /* a PSI file, armed by being open; a FIFO, socket or inotify. Or -1 */
    int epoll_fd; /* libevent knows no POLLPRI: for PSI an epoll of its own. Or -1 */
    struct event *event;
};

struct signs {
    struct event_base *base;
    const struct host *host;
    const struct cgroups *cgroups;
    const struct cgroup *own; /* the daemon's control group, or NULL */
    uint64_t some_us;
    struct sign_source sources[SIGN_N_SCOPES];
    struct event *poll_timer; /* pending while a source has no event of its own */
    uint64_t n_events;        /* of the own control group, when last looked at */
    char description[64];
    void (*seen)(void *data);
    void *data;
};

/*
 * Watches; `seen` is called from the loop. 0 or -ENOMEM: that nothing can be watched is no error.
 * `some_us`: stall of some task within two seconds that counts as a sign. Pointers are borrowed.
 */
int signs_init(struct signs *signs, struct event_base *base, const struct host *host,
               const struct cgroups *cgroups, const struct cgroup *own, uint64_t some_us,
               void (*seen)(void *data), void *data);
/* Also of what was only zeroed. */
void signs_deinit(struct signs *signs);

/* The best there is: "psi", "meminfo", or "none". */
const char *signs_source(const struct signs *signs);
/* All of it, for people: "host psi, cgroup events". */
const char *signs_description(const struct signs *signs);

/* The bytes that base64 text stands for, or -1: it is not, or there are more than `capacity`. */
int signs_decode(const char *text, unsigned char *bytes, size_t capacity);

#endif
