/* See leases.h. */
#include "libclient/leases.h"

#include "common/check.h"
#include "libclient/extentfile.h"
#include "libclient/extents.h"
#include "libclient/freeslabs.h"
#include "libclient/glue.h"
#include "libclient/link.h"
#include "libclient/probe.h"
#include "libclient/settings.h"
#include "libclient/window.h"

struct leases leases;
static bool is_set_up;
static bool is_suspended;

static void count_leased(uint32_t n_slabs)
{
    leases.bytes += superslab_bytes(n_slabs);
    if (leases.bytes > leases.peak_bytes)
        leases.peak_bytes = leases.bytes;
}

static uint32_t round_to_power_of_two(uint32_t n)
{
    return n <= 1 ? 1 : 1u << (32 - __builtin_clz(n - 1));
}

/* Below this many SuperSlabs a program is still starting: few leases are worth more than a small
 * tail. */
#define STARTING_SLABS 16u
#define STARTING_STEP  4u
#define SMALLEST_STEP  2u
#define STEP_SHARE     20u
#define LOW_SHARE      40u

uint32_t leases_step(uint32_t n_held)
{
    uint32_t n = n_held / STEP_SHARE;
    if (n_held < STARTING_SLABS)
        return n_held < STARTING_STEP ? SMALLEST_STEP : STARTING_STEP;
    if (n < SMALLEST_STEP)
        return SMALLEST_STEP;
    if (n > EXTENT_MAX_SLABS)
        return EXTENT_MAX_SLABS;
    /* One extent or two. */
    uint32_t top = 1u << (31 - __builtin_clz(n));
    return n & (top | top >> 1);
}

uint32_t leases_low_water(uint32_t n_held)
{
    uint32_t n = n_held / LOW_SHARE;
    return n > EXTENT_MAX_SLABS ? EXTENT_MAX_SLABS : n;
}

static uint32_t n_held(void)
{
    return (uint32_t)(leases.bytes >> SUPERSLAB_SHIFT);
}

/* After an extent that could not be mapped nothing is asked for, for so long. */
#define UNMAPPABLE_PAUSE_MS 500u

static uint64_t resume_ms; /* 0: no such pause */

static bool is_pausing(void)
{
    if (check_likely(resume_ms == 0))
        return false;
    if (glue_now_ms() < resume_ms)
        return true;
    resume_ms = 0;
    return false;
}

/* Those that cannot be mapped go back: the process has as many mappings as it may, say, and the
 * next one would fare no better. False: not one was taken in. */
static bool take_in(struct link_extent *arrived, size_t n_extents)
{
    uint64_t refused[CONN_MAX_FDS];
    size_t n_refused = 0;
    for (size_t i = 0; i < n_extents; i++) {
        uint32_t first = extents_map(&arrived[i]);
        if (first == BITMAP_NONE) {
            refused[n_refused++] = arrived[i].id;
            leases.unmappable++;
            continue;
        }
        count_leased(arrived[i].n_slabs);
        leases.count++;
        PROBE3(lease, arrived[i].id, arrived[i].n_slabs, window_address(first));
        for (uint32_t k = first; k < first + arrived[i].n_slabs; k++)
            freeslabs_put_warm(k);
    }
    if (n_refused > 0) {
        resume_ms = glue_now_ms() + UNMAPPABLE_PAUSE_MS;
        link_return(refused, n_refused);
        extents_sync();
    }
    return n_refused < n_extents;
}

void leases_collect(void)
{
    struct link_extent arrived[CONN_MAX_FDS];
    size_t n_extents;
    if (is_suspended)
        return;
    enum link_result result = link_collect(arrived, &n_extents);
    extents_sync();
    if (result == LINK_GRANTED)
        take_in(arrived, n_extents);
}

/* Gives up an extent that is free as a whole: its address space is free again. Its id joins
 * `returned` if the daemon of the present link is to be told. False: it could not be unmapped. */
static bool give_up_extent(uint32_t first, uint64_t *returned, size_t *n_returned)
{
    struct superslab *slab = window_slab(first);
    uint32_t n_slabs = slab->extent_slabs;
    uint64_t id = slab->extent_id;
    bool is_current = extents_is_current(first);

    for (uint32_t i = first; i < first + n_slabs; i++)
        freeslabs_remove(i);
    if (!extents_unmap(first)) {
        for (uint32_t i = first; i < first + n_slabs; i++)
            freeslabs_put_cold(i);
        return false;
    }
    leases.bytes -= superslab_bytes(n_slabs);
    if (is_current)
        returned[(*n_returned)++] = id;
    return true;
}

#define RETURN_BATCH 64

size_t leases_return(uint32_t n_wanted)
{
    uint64_t returned[RETURN_BATCH];
    size_t n_returned = 0, n_bytes = 0;
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};

    for (unsigned part = 0; part < 2; part++) {
        for (uint32_t i = begins[part]; i < ends[part] && n_returned < RETURN_BATCH; i++) {
            struct superslab *slab = window_slab(i);
            if (!bitmap_test(freeslabs.cold, i) && !bitmap_test(freeslabs.warm, i))
                continue;
            if (slab->backing == SUPERSLAB_PRIVATE || slab->extent_first != i)
                continue;
            enum extents_worth worth = extents_worth(i);
            if (worth == EXTENTS_IN_USE || (worth == EXTENTS_RECLAIMED && n_wanted == 0))
                continue;
            uint32_t n_slabs = slab->extent_slabs;
            if (worth == EXTENTS_RECLAIMED)
                n_wanted -= n_slabs < n_wanted ? n_slabs : n_wanted;
            if (give_up_extent(i, returned, &n_returned))
                n_bytes += superslab_bytes(n_slabs);
        }
    }
    if (n_returned > 0) {
        link_return(returned, n_returned);
        extents_sync();
    }
    return n_bytes;
}

void leases_suspend(bool suspended)
{
    is_suspended = suspended;
}

bool leases_may_ask(void)
{
    return !is_suspended && settings.is_loaded && settings.connect != SETTINGS_CONNECT_OFF;
}

bool leases_ask(uint32_t n_slabs, bool wait)
{
    struct link_extent arrived[CONN_MAX_FDS];
    size_t n_extents;
    uint32_t run = round_to_power_of_two(n_slabs);
    uint32_t step = leases_step(n_held()), want = step > run ? step : run;

    if (!leases_may_ask() || run > EXTENT_MAX_SLABS || !extentfile_may_hold_more() || is_pausing())
        return false;
    if (!is_set_up) {
        link_init(settings.socket_path, true, settings.wait_us);
        is_set_up = true;
    }
    link_set_held_bytes(leases.bytes);
    enum link_result result = link_lease(want, run, wait, arrived, &n_extents);
    extents_sync();
    if (result != LINK_GRANTED || !take_in(arrived, n_extents))
        return false;
    /* Prewarmed memory has come: what the daemon reclaimed can go back instead of being faulted in
     * again. */
    if (freeslabs.n_warm_leased + freeslabs.n_cold > (int32_t)want)
        leases_return(want);
    return true;
}

/* Cold memory that nobody takes is address space and quota for nothing: past this, it goes before
 * new leases. */
bool leases_have_much_cold(void)
{
    return freeslabs.n_cold >= 8 && freeslabs.n_cold >= (int32_t)n_held() / 4;
}

/* When the last warm SuperSlab is gone, or nearly so where there are many. */
bool leases_look_ahead_is_due(void)
{
    int32_t low = (int32_t)leases_low_water(n_held());
    return leases.bytes > 0 && freeslabs.n_warm_leased <= low && !link_is_pending() &&
           link_ledger() && link_pressure() == LEDGER_PRESSURE_NONE && !leases_have_much_cold();
}

void leases_look_ahead(void)
{
    if (leases_look_ahead_is_due())
        leases_ask(1, false);
}
