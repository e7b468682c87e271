/* See pressure.h. */
#include "hakmemd/pressure.h"

#include <errno.h>
#include <event2/event.h>

#include "hakmemd/clock.h"
#include "hakmemd/log.h"

#define STEPS_UP_A_SPELL      10
#define RELAPSE_SPELLS        4 /* a sign within so many spells of a step down */
#define RELAPSES_MAX          6
#define AGE_UNDER_PRESSURE_MS 0

static const struct {
    enum pool_mode mode;
    bool reclaim_now;
    bool refusing;
    enum ledger_pressure told;
} steps[PRESSURE_N_STEPS] = {
    {POOL_OPEN, false, false, LEDGER_PRESSURE_NONE},
    {POOL_NO_WARM, false, false, LEDGER_PRESSURE_NONE},
    {POOL_NO_SPARE, false, false, LEDGER_PRESSURE_NONE},
    {POOL_MINIMUM, true, false, LEDGER_PRESSURE_SOME},
    {POOL_MINIMUM, true, true, LEDGER_PRESSURE_CRITICAL},
};

/* ---- the ladder ---- */

static void take_step(struct pressure *pressure, unsigned step)
{
    pressure->step = step;
    pressure->last_step_ms = clock_now_ms();
    *pressure->refusing = steps[step].refusing;
    pool_set_mode(pressure->pool, pressure->drained ? POOL_CLOSED : steps[step].mode);
    reclaim_set_age(pressure->reclaim,
                    steps[step].reclaim_now ? AGE_UNDER_PRESSURE_MS : pressure->reclaim->idle_ms);
    list_for_each(it, pressure->clients)
    {
        client_set_pressure(list_entry(it, struct client, link), steps[step].told);
    }
    evtimer_del(pressure->step_timer);
    if (step > 0) {
        struct timeval quiet = clock_timeval(pressure_spell_ms(pressure));
        evtimer_add(pressure->step_timer, &quiet);
    }
}

uint64_t pressure_spell_ms(const struct pressure *pressure)
{
    return pressure->settings.quiet_ms << pressure->n_relapses;
}

/* Did we go down too early? If not, calm has lasted: the longer, the more relapses are forgotten.
 */
static void judge_last_step(struct pressure *pressure)
{
    uint64_t calm_ms = clock_now_ms() - pressure->last_step_ms;
    if (!pressure->last_was_down)
        return;
    if (calm_ms < RELAPSE_SPELLS * pressure_spell_ms(pressure)) {
        if (pressure->n_relapses < RELAPSES_MAX)
            pressure->n_relapses++;
        return;
    }
    while (pressure->n_relapses > 0 && calm_ms >= RELAPSE_SPELLS * pressure_spell_ms(pressure)) {
        calm_ms -= RELAPSE_SPELLS * pressure_spell_ms(pressure);
        pressure->n_relapses--;
    }
}

void pressure_rise(struct pressure *pressure)
{
    uint64_t since_ms = clock_now_ms() - pressure->last_step_ms;
    pressure->stats->pressure_events_total++;
    if (pressure->step > 0 && since_ms < pressure->settings.quiet_ms / STEPS_UP_A_SPELL)
        return;
    judge_last_step(pressure);
    pressure->last_was_down = false;
    if (pressure->step == 0)
        log_info(NULL, "memory pressure: giving back");
    /* At the top, too: the quiet spell begins anew. */
    take_step(pressure,
              pressure->step + 1 < PRESSURE_N_STEPS ? pressure->step + 1 : pressure->step);
}

void pressure_fall(struct pressure *pressure)
{
    if (pressure->step == 0)
        return;
    pressure->last_was_down = true;
    take_step(pressure, pressure->step - 1);
    if (pressure->step == 0)
        log_info(NULL, "memory pressure is over");
}

static void on_quiet_spell(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    pressure_fall(data);
}

void pressure_set_drained(struct pressure *pressure, bool drained)
{
    pressure->drained = drained;
    pool_set_mode(pressure->pool, drained ? POOL_CLOSED : steps[pressure->step].mode);
}

enum ledger_pressure pressure_level(const struct pressure *pressure)
{
    return steps[pressure->step].told;
}

/* ---- life ---- */

static void on_sign(void *data)
{
    pressure_rise(data);
}

int pressure_init(struct pressure *pressure, const struct pressure_settings *settings,
                  const struct host *host, const struct cgroups *cgroups, struct event_base *base,
                  struct pool *pool, struct reclaim *reclaim, struct list *clients, bool *refusing,
                  struct stats *stats)
{
    *pressure = (struct pressure){.settings = *settings,
                                  .pool = pool,
                                  .reclaim = reclaim,
                                  .clients = clients,
                                  .refusing = refusing,
                                  .stats = stats};
    pressure->step_timer = evtimer_new(base, on_quiet_spell, pressure);
    if (!pressure->step_timer)
        return -ENOMEM;
    if (!settings->enabled)
        return 0;
    return signs_init(&pressure->signs, base, host, cgroups, pool->cgroup, settings->some_us,
                      on_sign, pressure);
}

void pressure_apply(struct pressure *pressure, const struct pressure_settings *settings)
{
    pressure->settings.quiet_ms = settings->quiet_ms;
    take_step(pressure, pressure->step);
}

void pressure_deinit(struct pressure *pressure)
{
    signs_deinit(&pressure->signs);
    if (pressure->step_timer)
        event_free(pressure->step_timer);
    pressure->step_timer = NULL;
}
