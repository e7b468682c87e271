/* See core.h. */
#include "hakmemd/core.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "hakmemd/log.h"

#define N_WORKERS 2

static int init_stock(struct core *core, const struct core_settings *settings,
                      struct store_passed *passed)
{
    quota_init(&core->quota, &settings->quota);
    int r = quota_apply(&core->quota, &settings->quota);
    if (r == 0)
        r = workers_new(core->base, N_WORKERS, &core->workers);
    if (r == 0)
        r = punchers_init(&core->punchers, core->base);
    if (r == 0)
        r = store_init(&core->store, settings->store_after_ms, passed, core->base, &core->stats);
    if (r < 0)
        return r;
    r = ledgers_init(&core->ledgers, core->workers, &core->store, core->base, &core->stats);
    if (r < 0)
        return r;
    if (settings->topology)
        core->topology = *settings->topology;
    else
        topology_init(&core->topology, &core->host);
    extents_init(&core->extents, &core->stats, core->workers, &core->punchers, &core->store,
                 &core->topology);
    cgroups_init(&core->cgroups, &core->host);
    if (settings->heeds_own_cgroup)
        core->own_cgroup = cgroups_get_own(&core->cgroups);
    r = pool_init(&core->pool, &settings->pool, core->base, &core->extents, core->workers,
                  core->own_cgroup, &core->topology, &core->stats);
    if (r == 0)
        r = scrub_init(&core->scrub, settings->reuse, core->base, &core->pool, core->workers,
                       &core->stats);
    return r;
}

static int init_leases(struct core *core, const struct core_settings *settings)
{
    int r = leases_init(&core->leases, core->base, &core->pool, &core->scrub, &core->reclaim,
                        &core->stats);
    if (r == 0)
        r = reclaim_init(&core->reclaim, settings->idle_ms, core->base, &core->leases.clients,
                         &core->stats);
    if (r == 0)
        r = pressure_init(&core->pressure, &settings->pressure, &core->host, &core->cgroups,
                          core->base, &core->pool, &core->reclaim, &core->leases.clients,
                          &core->leases.refusing, &core->stats);
    if (r == 0)
        r = adopt_init(&core->adopt, settings->reattach_ms, core->base, &core->leases, &core->quota,
                       &core->ledgers, &core->cgroups, &core->store, &core->stats);
    return r;
}

int core_init(struct core *core, const struct core_settings *settings, struct event_base *base,
              struct store_passed *passed)
{
    core->base = base;
    core->host = settings->host; /* others keep a pointer to it */
    core->store.table_fd = -1;
    int r = init_stock(core, settings, passed);
    if (r == 0)
        r = init_leases(core, settings);
    core->control = (struct control){.quota = &core->quota,
                                     .ledgers = &core->ledgers,
                                     .cgroups = &core->cgroups,
                                     .leases = &core->leases,
                                     .pool = &core->pool,
                                     .reclaim = &core->reclaim,
                                     .pressure = &core->pressure,
                                     .adopt = &core->adopt,
                                     .stats = &core->stats};
    return r;
}

void core_apply(struct core *core, const struct core_settings *settings)
{
    if (quota_apply(&core->quota, &settings->quota) < 0)
        log_warning(&(struct log_subject){.error = ENOMEM}, "some users' limits are missing");
    pool_apply(&core->pool, &settings->pool);
    core->reclaim.idle_ms = settings->idle_ms;
    pressure_apply(&core->pressure, &settings->pressure); /* puts idle_ms in force */
    core->scrub.reuse = settings->reuse;
    core->store.after_ms = settings->store_after_ms;
}

void core_close(struct core *core)
{
    scrub_deinit(&core->scrub);
    pool_deinit(&core->pool);
    adopt_deinit(&core->adopt);
    leases_deinit(&core->leases);
    ledgers_deinit(&core->ledgers);
}

void core_deinit(struct core *core)
{
    pressure_deinit(&core->pressure);
    reclaim_deinit(&core->reclaim);
    /* Ends the work in flight, and with it the last clients. Where one of them holds it up, there
     * is nobody to wait for: what outlives us has been seen to. */
    if (!punchers_deinit(&core->punchers)) {
        log_warning(NULL, "a client holds up a punch: leaving it");
        _exit(EXIT_SUCCESS);
    }
    workers_free(core->workers);
    cgroup_unref(core->own_cgroup);
    cgroups_deinit(&core->cgroups);
    if (core->workers)
        quota_deinit(&core->quota);
    store_deinit(&core->store);
}
