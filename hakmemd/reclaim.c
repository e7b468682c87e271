/* See reclaim.h. */
#include "hakmemd/reclaim.h"

#include <errno.h>
#include <event2/event.h>

#include "common/check.h"
#include "hakmemd/clock.h"
#include "hakmemd/memfd.h"
#include "hakmemd/turn.h"

#define ROUNDS_PER_AGE   4
#define ROUND_MIN_MS     20
#define ROUND_MAX_MS     1000
#define QUIET_ROUNDS     8 /* from then on a round comes a quarter as often */
#define CLIENTS_A_SLICE  128
#define SLABS_A_SLICE    4096
#define MAPPINGS_A_SLICE 16
#define NEW_MS           500 /* a client: its ledger is not worth mapping */

/* ---- punching ---- */

static void punch_run(struct worker_job *job)
{
    struct extent_care *punch = list_entry(job, struct extent_care, punch.job);
    struct extent *extent = list_entry(punch, struct extent, care);
    punch->error = 0;
    for (uint32_t i = 0; i < extent->n_slabs && punch->error == 0;) {
        uint32_t n = 0;
        while (i + n < extent->n_slabs && punch->slabs & 1u << (i + n))
            n++;
        if (n > 0)
            punch->error = memfd_punch(extent->fd, i, n);
        i += n > 0 ? n : 1;
    }
}

static struct stats *stats_of(const struct extent *extent)
{
    return extent->extents->stats;
}

static void punch_done(struct worker_job *job)
{
    struct extent_care *punch = list_entry(job, struct extent_care, punch.job);
    struct extent *extent = list_entry(punch, struct extent, care);
    struct ledger *ledger = client_ledger(extent->client); /* mapped: words were changed in it */
    bool is_punched = !job->cancelled && punch->error == 0;
    enum slab_state next = is_punched ? SLAB_RECLAIMED : SLAB_IDLE;

    if (!job->cancelled) /* even a failed one may have taken some */
        client_note_punched(extent, punch->slabs);
    for (uint32_t i = 0; i < extent->n_slabs; i++) {
        if (!(punch->slabs & 1u << i))
            continue;
        /* A client that changed the word meanwhile, as it must not, keeps what it wrote. */
        ledger_slab_change(&ledger->slots[extent->first_slot + i], punch->words[i], LEDGER_DAEMON,
                           next);
        if (is_punched)
            stats_of(extent)->reclaimed_bytes_total += SUPERSLAB_BYTES;
    }
    client_end_work(extent);
}

/* ---- looking ---- */

/* Is this word IDLE, and was it the same one age_ms ago? Remembers what it saw. */
static bool has_aged(struct extent_watch *watch, uint32_t word, uint32_t now_ms, uint64_t age_ms)
{
    if (watch->word != word) {
        watch->word = word;
        watch->since_ms = now_ms;
    }
    return ledger_word_state(word) == SLAB_IDLE && now_ms - watch->since_ms >= age_ms;
}

/* What ledger_slab_change() has made of `word`. Not read back: that would be reading the client's
 * word twice. */
static uint32_t word_after_change(uint32_t word)
{
    return ((word & ~(uint32_t)0xff) + 0x100) | SLAB_RECLAIMING;
}

static uint64_t scan_extent(struct reclaim *reclaim, struct client *client, struct extent *extent,
                            uint64_t age_ms, struct client_usage *usage)
{
    struct ledger *ledger = client->mapping->ledger;
    struct extent_care *punch = &extent->care;
    uint32_t now_ms = (uint32_t)clock_now_ms(), words[EXTENT_MAX_SLABS];

    client_read_words(client, extent, words);
    client_count_words(words, extent->n_slabs, usage);
    if (!ledger || punch->in_flight || extent->work.backing == BACKING_HUGETLB ||
        client->user->n_stuck_punches > 0)
        return 0;
    punch->slabs = 0;
    for (uint32_t i = 0; i < extent->n_slabs; i++) {
        uint32_t *slot = &ledger->slots[extent->first_slot + i];
        if (ledger_word_state(words[i]) == SLAB_IDLE)
            reclaim->something_is_idle = true;
        if (!has_aged(&extent->watch[i], words[i], now_ms, age_ms) ||
            !ledger_slab_change(slot, words[i], LEDGER_DAEMON, SLAB_RECLAIMING))
            continue;
        punch->slabs |= (uint16_t)(1u << i);
        punch->words[i] = word_after_change(words[i]);
    }
    if (punch->slabs == 0)
        return 0;
    bool begun = client_begin_work(extent, punch_run, punch_done);
    check_or_trap(begun);
    return (uint64_t)__builtin_popcount(punch->slabs) << SUPERSLAB_SHIFT;
}

/* One that has just come may be gone by the next round. By hand, its words are wanted now. */
static void see_to_mapping(struct reclaim *reclaim, struct client *client, uint64_t age_ms)
{
    if (client->mapping->ledger)
        return;
    if (age_ms == 0) {
        reclaim->n_mapping++;
        if (client_ledger(client))
            return;
    }
    reclaim->something_is_idle = true; /* for all that is known */
    if (clock_now_ms() >= client->connected_ms + (age_ms < NEW_MS ? age_ms : NEW_MS)) {
        reclaim->n_mapping++;
        ledgers_map_soon(client->mapping);
    }
}

uint64_t reclaim_scan_client(struct reclaim *reclaim, struct client *client, uint64_t age_ms)
{
    struct client_usage usage = {0};
    uint64_t n_bytes = 0;
    if (client->ending)
        return 0;
    see_to_mapping(reclaim, client, age_ms);
    list_for_each(it, &client->leases)
    {
        n_bytes +=
            scan_extent(reclaim, client, list_entry(it, struct extent, link), age_ms, &usage);
    }
    check_debug(client_is_valid(client));
    return n_bytes;
}

/* ---- rounds ---- */

static void schedule(struct reclaim *reclaim)
{
    uint64_t wait_ms = reclaim->age_ms / ROUNDS_PER_AGE;
    if (wait_ms < ROUND_MIN_MS)
        wait_ms = ROUND_MIN_MS;
    if (wait_ms > ROUND_MAX_MS)
        wait_ms = ROUND_MAX_MS;
    if (reclaim->n_quiet >= QUIET_ROUNDS)
        wait_ms *= ROUNDS_PER_AGE;
    struct timeval wait = clock_timeval(wait_ms);
    evtimer_add(reclaim->timer, &wait);
}

static void begin_round(struct reclaim *reclaim, bool is_asked_for)
{
    reclaim->round++;
    reclaim->is_asked_for = is_asked_for;
    reclaim->is_in_round = true;
    reclaim->something_is_idle = false;
    reclaim->is_by_hand = reclaim->wants_by_hand;
    reclaim->wants_another = reclaim->wants_by_hand = false;
    reclaim->so_far = (struct reclaim_figures){.handed_over_bytes = 0};
}

static void end_round(struct reclaim *reclaim)
{
    uint64_t by_hand_bytes = reclaim->figures.handed_over_bytes;
    reclaim->is_in_round = false;
    if (reclaim->something_is_idle)
        reclaim->n_quiet = 0;
    else if (!reclaim->is_asked_for)
        reclaim->n_quiet++;
    reclaim->figures = reclaim->so_far;
    if (!reclaim->is_by_hand)
        reclaim->figures.handed_over_bytes = by_hand_bytes;
    if (reclaim->wants_another)
        begin_round(reclaim, true);
    if (reclaim->on_round)
        reclaim->on_round(reclaim->on_round_data);
}

static void add_usage(struct client_usage *sum, const struct client_usage *usage)
{
    sum->active_bytes += usage->active_bytes;
    sum->idle_bytes += usage->idle_bytes;
    sum->reclaimed_bytes += usage->reclaimed_bytes;
    sum->pinned_bytes += usage->pinned_bytes;
}

static bool slice_is_over(const struct reclaim *reclaim, uint64_t n_slabs)
{
    return n_slabs >= SLABS_A_SLICE || reclaim->n_mapping >= MAPPINGS_A_SLICE || !turn_has_time();
}

/* Those of its extents that this round has not seen, from the front of the list on; they go to its
 * back. True: that was all. */
static bool scan_some(struct reclaim *reclaim, struct client *client, uint64_t *n_slabs)
{
    uint64_t age_ms = reclaim->is_by_hand ? 0 : reclaim->age_ms;
    struct list *first;
    if (client->ending)
        return true;
    see_to_mapping(reclaim, client, age_ms);
    while ((first = list_first(&client->leases))) {
        struct extent *extent = list_entry(first, struct extent, link);
        if (extent->reclaim_round == reclaim->round)
            return true;
        if (*n_slabs > 0 && slice_is_over(reclaim, *n_slabs))
            return false;
        extent->reclaim_round = reclaim->round;
        list_remove(first);
        list_push_back(&client->leases, first);
        reclaim->so_far.handed_over_bytes +=
            scan_extent(reclaim, client, extent, age_ms, &client->so_far);
        *n_slabs += extent->n_slabs;
    }
    return true;
}

/* Some clients of the round; the loop gets its turn between slices. */
static void scan_slice(struct reclaim *reclaim)
{
    uint64_t n_slabs = 0;
    reclaim->n_mapping = 0;
    for (unsigned n = 0; n < CLIENTS_A_SLICE && (n == 0 || !slice_is_over(reclaim, n_slabs)); n++) {
        struct list *first = list_first(reclaim->clients);
        struct client *client = first ? list_entry(first, struct client, link) : NULL;
        if (!client || client->reclaim_round == reclaim->round) {
            end_round(reclaim);
            return;
        }
        if (!scan_some(reclaim, client, &n_slabs))
            return;
        client->usage = client->so_far;
        client->so_far = (struct client_usage){.active_bytes = 0};
        add_usage(&reclaim->so_far.usage, &client->usage);
        client->reclaim_round = reclaim->round;
        list_remove(first);
        list_push_back(reclaim->clients, first);
        check_debug(client_is_valid(client));
    }
}

/* When the next slice is due, if any is. */
static void schedule_next(struct reclaim *reclaim)
{
    evtimer_del(reclaim->timer);
    if (reclaim->is_in_round)
        evtimer_add(reclaim->timer, &(struct timeval){0});
    else if (reclaim->stats->leased_bytes > 0)
        schedule(reclaim);
}

/* Those of this round are looked at from the front of the list on, and go to its back, where new
 * ones come, too. */
static void on_timer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct reclaim *reclaim = data;
    turn_begin();
    if (!reclaim->is_in_round)
        begin_round(reclaim, false);
    scan_slice(reclaim);
    turn_end();
    schedule_next(reclaim);
}

/* ---- when somebody asks ---- */

unsigned reclaim_look(struct reclaim *reclaim, bool by_hand)
{
    /* One that is under way has seen some of it before. */
    unsigned round = reclaim->round + 1;
    reclaim->wants_by_hand |= by_hand;
    reclaim->wants_another = true;
    if (!reclaim->is_in_round)
        begin_round(reclaim, true);
    do {
        scan_slice(reclaim);
    } while (reclaim->is_in_round && turn_has_time());
    schedule_next(reclaim);
    return round;
}

bool reclaim_has_looked(const struct reclaim *reclaim, unsigned round)
{
    unsigned n_done = reclaim->is_in_round ? reclaim->round - 1 : reclaim->round;
    return (int)(n_done - round) >= 0;
}

void reclaim_watch(struct reclaim *reclaim)
{
    if (reclaim->age_ms != UINT64_MAX && !evtimer_pending(reclaim->timer, NULL)) {
        reclaim->n_quiet = 0;
        schedule(reclaim);
    }
}

void reclaim_set_age(struct reclaim *reclaim, uint64_t age_ms)
{
    if (reclaim->age_ms == age_ms)
        return;
    reclaim->age_ms = age_ms;
    reclaim->n_quiet = 0;
    if (!reclaim->is_in_round && reclaim->stats->leased_bytes > 0)
        schedule(reclaim);
}

int reclaim_init(struct reclaim *reclaim, uint64_t idle_ms, struct event_base *base,
                 struct list *clients, struct stats *stats)
{
    *reclaim =
        (struct reclaim){.idle_ms = idle_ms, .age_ms = idle_ms, .clients = clients, .stats = stats};
    reclaim->timer = evtimer_new(base, on_timer, reclaim);
    return reclaim->timer ? 0 : -ENOMEM;
}

void reclaim_deinit(struct reclaim *reclaim)
{
    if (reclaim->timer)
        event_free(reclaim->timer);
    reclaim->timer = NULL;
}
