/* See leases.h. */
#include "libclient/leases.h"

#include "common/atomic.h"
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
/* Changed by threads that fork, with or without source.c's lock. */
static uint32_t n_suspensions;

/* Relaxed: who suspends forks next, and what it leases itself is what matters. */
static bool is_suspended(void)
{
    return atomic_load_relaxed(&n_suspensions) > 0;
}

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
#define TAIL_SHARE     12u

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

/* Side by side: together they serve a block that none of them would hold. */
static uint32_t take_places(const struct link_extent *arrived, size_t n_extents)
{
    uint32_t n_slabs = 0;
    for (size_t i = 0; i < n_extents; i++)
        n_slabs += arrived[i].n_slabs;
    return n_extents > 1 ? window_take(n_slabs, 1, false) : BITMAP_NONE;
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

/* At `place`, or BITMAP_NONE: wherever there is room. False: it could not be mapped. */
static bool take_in_one(struct link_extent *arrived, uint32_t place)
{
    uint32_t n_slabs = arrived->n_slabs;
    uint32_t first = place != BITMAP_NONE ? place : window_take(n_slabs, 1, false);
    if (first == BITMAP_NONE)
        glue_close(arrived->fd);
    if (first == BITMAP_NONE || !extents_map(arrived, first))
        return false;
    count_leased(n_slabs);
    leases.count++;
    PROBE3(lease, arrived->id, n_slabs, window_address(first));
    for (uint32_t k = first; k < first + n_slabs; k++)
        freeslabs_put_warm(k);
    return true;
}

/* Those that cannot be mapped go back: the process has as many mappings as it may, say, and the
 * next one would fare no better. False: not one was taken in. */
static bool take_in(struct link_extent *arrived, size_t n_extents)
{
    uint64_t refused[CONN_MAX_FDS];
    size_t n_refused = 0;
    uint32_t place = take_places(arrived, n_extents);
    for (size_t i = 0; i < n_extents; i++) {
        if (!take_in_one(&arrived[i], place)) {
            refused[n_refused++] = arrived[i].id;
            leases.unmappable++;
        }
        if (place != BITMAP_NONE)
            place += arrived[i].n_slabs;
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
    if (is_suspended())
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

void leases_suspend(void)
{
    atomic_add_relaxed(&n_suspensions, 1);
}

void leases_resume(bool is_child)
{
    if (is_child)
        atomic_store_relaxed(&n_suspensions, 0);
    else
        atomic_sub_relaxed(&n_suspensions, 1);
}

bool leases_may_ask(void)
{
    return !is_suspended() && settings.is_loaded && settings.connect != SETTINGS_CONNECT_OFF;
}

uint32_t leases_piece(uint32_t n_slabs, uint32_t *n_whole)
{
    uint32_t quarter = round_to_power_of_two(n_slabs + 1) / 8;
    *n_whole = quarter > 1 ? (n_slabs + quarter - 1) / quarter * quarter : n_slabs;
    return *n_whole & -*n_whole;
}

static bool ask(uint32_t n_slabs, uint32_t run, bool wait)
{
    struct link_extent arrived[CONN_MAX_FDS];
    size_t n_extents;
    uint32_t step = leases_step(n_held()), want = step > n_slabs ? step : n_slabs;

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

bool leases_ask(uint32_t n_slabs, bool wait)
{
    uint32_t run = round_to_power_of_two(n_slabs);
    return ask(run, run, wait);
}

/* A single extent takes one mapping, and is what the daemon has in stock: rather that, unless it
 * leaves more unused than a program of that size is to hold. */
static bool leaves_much(uint32_t n_slabs)
{
    uint32_t run = round_to_power_of_two(n_slabs), n_usual = (n_held() + run) / TAIL_SHARE;
    return run - n_slabs > (n_usual > STARTING_STEP ? n_usual : STARTING_STEP);
}

bool leases_ask_in_pieces(uint32_t n_slabs)
{
    uint32_t n_whole, piece = leases_piece(n_slabs, &n_whole);
    return n_slabs <= EXTENT_MAX_SLABS && piece < n_whole && leaves_much(n_slabs) &&
           ask(n_whole, piece, true);
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
