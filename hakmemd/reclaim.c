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
    struct extent_care *punch = list_entry(job, struct extent_care, job);
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
    struct extent_care *punch = list_entry(job, struct extent_care, job);
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

static uint64_t scan_extent(struct reclaim *reclaim, struct ledger *ledger, struct extent *extent,
                            uint64_t age_ms)
{
    struct extent_care *punch = &extent->care;
    uint32_t now_ms = (uint32_t)clock_now_ms();

    if (punch->in_flight || extent->work.backing == BACKING_HUGETLB)
        return 0;
    punch->slabs = 0;
    for (uint32_t i = 0; i < extent->n_slabs; i++) {
        uint32_t *slot = &ledger->slots[extent->first_slot + i];
        uint32_t word = ledger_slot_read(slot);
        if (ledger_word_state(word) == SLAB_IDLE)
            reclaim->something_is_idle = true;
        if (!has_aged(&extent->watch[i], word, now_ms, age_ms) ||
            !ledger_slab_change(slot, word, LEDGER_DAEMON, SLAB_RECLAIMING))
            continue;
        punch->slabs |= (uint16_t)(1u << i);
        punch->words[i] = word_after_change(word);
    }
    if (punch->slabs == 0)
        return 0;
    bool begun = client_begin_work(extent, punch_run, punch_done);
    check_or_trap(begun);
    return (uint64_t)__builtin_popcount(punch->slabs) << SUPERSLAB_SHIFT;
}

uint64_t reclaim_scan_client(struct reclaim *reclaim, struct client *client, uint64_t age_ms)
{
    uint64_t n_bytes = 0;
    if (client->ending)
        return 0;
    /* One that has just come may be gone by the next round. By hand, its words are wanted now. */
    struct ledger *ledger = age_ms == 0 ? client_ledger(client) : client->mapping->ledger;
    if (!ledger) {
        reclaim->something_is_idle = true; /* for all that is known */
        if (clock_now_ms() >= client->connected_ms + (age_ms < NEW_MS ? age_ms : NEW_MS)) {
            reclaim->n_mapping++;
            ledgers_map_soon(client->mapping);
        }
        return 0;
    }
    list_for_each(it, &client->leases)
    {
        n_bytes += scan_extent(reclaim, ledger, list_entry(it, struct extent, link), age_ms);
    }
    check_debug(client_is_valid(client));
    return n_bytes;
}

uint64_t reclaim_all(struct reclaim *reclaim)
{
    uint64_t n_bytes = 0;
    list_for_each(it, reclaim->clients)
    {
        n_bytes += reclaim_scan_client(reclaim, list_entry(it, struct client, link), 0);
    }
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

static void begin_round(struct reclaim *reclaim)
{
    reclaim->round++;
    reclaim->is_in_round = true;
    reclaim->something_is_idle = false;
}

/* Some clients of the round; the loop gets its turn between slices. */
static void scan_slice(struct reclaim *reclaim)
{
    uint64_t n_slabs = 0;
    reclaim->n_mapping = 0;
    for (unsigned n = 0; n < CLIENTS_A_SLICE && n_slabs < SLABS_A_SLICE &&
                         reclaim->n_mapping < MAPPINGS_A_SLICE && (n == 0 || turn_has_time());
         n++) {
        struct list *first = list_first(reclaim->clients);
        struct client *client = first ? list_entry(first, struct client, link) : NULL;
        if (!client || client->reclaim_round == reclaim->round) {
            reclaim->is_in_round = false;
            return;
        }
        client->reclaim_round = reclaim->round;
        list_remove(first);
        list_push_back(reclaim->clients, first);
        reclaim_scan_client(reclaim, client, reclaim->age_ms);
        n_slabs += client->leased_bytes >> SUPERSLAB_SHIFT;
    }
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
        begin_round(reclaim);
    scan_slice(reclaim);
    turn_end();
    if (reclaim->is_in_round) {
        evtimer_add(reclaim->timer, &(struct timeval){0});
        return;
    }
    reclaim->n_quiet = reclaim->something_is_idle ? 0 : reclaim->n_quiet + 1;
    if (reclaim->stats->leased_bytes > 0)
        schedule(reclaim);
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
    if (reclaim->stats->leased_bytes > 0)
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
