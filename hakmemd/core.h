/*
 * The core: everything the daemon consists of but its sockets. Put together here, in one order, for
 * the server, and for the tests and fuzzers that do without one.
 *
 * One event loop's thread; the loop is the caller's.
 */
#ifndef HAKMEMD_CORE_H
#define HAKMEMD_CORE_H

#include "hakmemd/adopt.h"
#include "hakmemd/control.h"

struct event_base;

struct core_settings {
    struct host host;                /* where it reads of the host */
    const struct topology *topology; /* copied; NULL: as the host says */
    struct pool_settings pool;
    uint64_t idle_ms;
    enum scrub_reuse reuse;
    struct quota_settings quota;
    struct pressure_settings pressure;
    uint64_t store_after_ms;
    uint64_t reattach_ms;
    bool heeds_own_cgroup; /* prewarms within the limits of the daemon's own control group */
};

struct core {
    struct event_base *base;
    struct host host;
    struct stats stats;
    struct workers *workers;
    struct punchers punchers;
    struct store store;
    struct extents extents;
    struct quota quota;
    struct cgroups cgroups;
    struct cgroup *own_cgroup;
    struct ledgers ledgers;
    struct topology topology;
    struct pool pool;
    struct scrub scrub;
    struct reclaim reclaim;
    struct leases leases;
    struct pressure pressure;
    struct adopt adopt;
    struct control control;
};

/*
 * Zeroed before, but for `stats`. What an earlier daemon left is taken out of `passed`. 0 or a
 * negative errno: core_close() and core_deinit() then, too.
 */
int core_init(struct core *core, const struct core_settings *settings, struct event_base *base,
              struct store_passed *passed);
/* Puts other settings in force. */
void core_apply(struct core *core, const struct core_settings *settings);

/*
 * Two steps, since peers end in between: from the first on whatever comes back is discarded; the
 * second ends the work in flight. Everything that was created has been discarded then.
 */
void core_close(struct core *core);
void core_deinit(struct core *core);

#endif
