/*
 * Memory pressure of the host, and what is given up for it, step by step.
 *
 *   level 0 calm      prewarm to the target
 *         1 some      prewarm nothing
 *         2           and hold no stock above the target, nothing recycled
 *         3 high      and reclaim IDLE SuperSlabs at once, stock down to pool.min; clients are told
 * SOME 4 critical  and lease nothing but what a user has on its own shelf; clients are told
 * CRITICAL
 *
 * Each sign of pressure goes one step up, at most ten in the time of a quiet spell; each quiet
 * spell one step down. So that the daemon does not free and prewarm in turns, a relapse (a sign
 * soon after a step down) doubles the spell, up to 64 times, until calm lasts; and what is dropped
 * on level 3 is not made again before it is asked for. Leased ACTIVE memory is never touched.
 *
 * Where the signs come from: signs.h. Loop thread only.
 */
#ifndef HAKMEMD_PRESSURE_H
#define HAKMEMD_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ledger.h"
#include "hakmemd/client.h"
#include "hakmemd/pool.h"
#include "hakmemd/reclaim.h"
#include "hakmemd/signs.h"

#define PRESSURE_N_STEPS 5

struct pressure_settings {
    bool enabled;
    uint64_t some_us;  /* stall of some task within a window that counts as a sign */
    uint64_t quiet_ms; /* without a sign for this long: one step down. See pressure_spell_ms() */
};

struct pressure {
    struct pressure_settings settings;
    struct pool *pool;
    struct reclaim *reclaim;
    struct list *clients; /* leases.clients */
    bool *refusing;       /* leases.refusing */
    struct stats *stats;
    unsigned step;
    bool drained;
    struct signs signs;
    struct event *step_timer; /* pending while step > 0: one down */
    uint64_t last_step_ms;
    bool last_was_down;
    unsigned n_relapses; /* of late */
};

/* 0 or -ENOMEM. That no sign can be watched for is no error: signs_source() says so. */
int pressure_init(struct pressure *pressure, const struct pressure_settings *settings,
                  const struct host *host, const struct cgroups *cgroups, struct event_base *base,
                  struct pool *pool, struct reclaim *reclaim, struct list *clients, bool *refusing,
                  struct stats *stats);
void pressure_deinit(struct pressure *pressure);
/* Whether and how PSI is watched changes with a restart only. */
void pressure_apply(struct pressure *pressure, const struct pressure_settings *settings);

/* A sign of pressure has been seen: one step up. */
void pressure_rise(struct pressure *pressure);
/* A quiet spell is over: one step down. */
void pressure_fall(struct pressure *pressure);

/* Drained: the stock is dropped whatever the pressure, until resumed. */
void pressure_set_drained(struct pressure *pressure, bool drained);

/* The quiet spell in force. */
uint64_t pressure_spell_ms(const struct pressure *pressure);
/* What clients are told. */
enum ledger_pressure pressure_level(const struct pressure *pressure);

#endif
