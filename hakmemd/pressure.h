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
 * Each sign of pressure goes one step up, at most one a second; each quiet spell of several seconds
 * one step down: so that the daemon does not free and prewarm in turns. Leased ACTIVE memory is
 * never touched.
 *
 * The signs: PSI triggers, of the file systemd names in $MEMORY_PRESSURE_WATCH or of the host;
 * where the kernel has no PSI, MemAvailable, looked at every few seconds. Loop thread only.
 */
#ifndef HAKMEMD_PRESSURE_H
#define HAKMEMD_PRESSURE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ledger.h"
#include "hakmemd/client.h"
#include "hakmemd/pool.h"
#include "hakmemd/reclaim.h"

#define PRESSURE_N_STEPS 5

struct pressure_settings {
    bool enabled;
    uint64_t some_us;  /* stall of some task within a window that counts as a sign */
    uint64_t quiet_ms; /* without a sign for this long: one step down */
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
    const char *source;
    int trigger_fd; /* PSI, armed; closing it disarms it */
    int epoll_fd;   /* libevent knows no POLLPRI: an epoll of its own, readable to libevent */
    struct event *trigger;    /* epoll_fd */
    struct event *step_timer; /* pending while step > 0: one down */
    struct event *poll_timer; /* where there is no PSI */
    uint64_t last_step_ms;
};

/* 0 or -ENOMEM. That no source could be opened is no error: pressure_source() says so. */
int pressure_init(struct pressure *pressure, const struct pressure_settings *settings,
                  struct event_base *base, struct pool *pool, struct reclaim *reclaim,
                  struct list *clients, bool *refusing, struct stats *stats);
void pressure_deinit(struct pressure *pressure);
/* Whether and how PSI is watched changes with a restart only. */
void pressure_apply(struct pressure *pressure, const struct pressure_settings *settings);

/* A sign of pressure has been seen: one step up. */
void pressure_rise(struct pressure *pressure);
/* A quiet spell is over: one step down. */
void pressure_fall(struct pressure *pressure);

/* Drained: the stock is dropped whatever the pressure, until resumed. */
void pressure_set_drained(struct pressure *pressure, bool drained);

/* What clients are told. */
enum ledger_pressure pressure_level(const struct pressure *pressure);
/* "psi", "meminfo" or "none". */
const char *pressure_source(const struct pressure *pressure);

#endif
