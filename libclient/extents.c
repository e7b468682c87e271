/* See extents.h. */
#include "libclient/extents.h"

#include <string.h>

#include "common/check.h"
#include "common/ledger.h"
#include "libclient/extentfile.h"
#include "libclient/forkmark.h"
#include "libclient/glue.h"
#include "libclient/link.h"
#include "libclient/originals.h"
#include "libclient/probe.h"
#include "libclient/settings.h"
#include "libclient/window.h"

/* Memory that no daemon can take back serves as warm memory until it was not wanted for longer.
 * Seconds of the clock: a moment ago may be one ago. */
#define STALE_IDLE_S 1u

static void *address_of(const struct superslab *slab)
{
    return window_address((uint32_t)(slab - window.slabs));
}

static size_t extent_bytes(const struct superslab *slab)
{
    return superslab_bytes(slab->extent_slabs);
}

/* The ledger whose words are heeded: link.c's, as of the last extents_sync(). */
static struct ledger *ledger;
static uint32_t generation;

/* The state word, or NULL when no daemon that knows of this SuperSlab listens any more. */
static uint32_t *slot_of(const struct superslab *slab)
{
    if (!ledger || slab->slot == LEDGER_SLOT_NONE || slab->generation != generation)
        return NULL;
    /* A child that was made behind our back: what it has freed its parent may be using. */
    if (forkmark_is_wiped(FORKMARK_LINK))
        return NULL;
    return &ledger->slots[slab->slot];
}

/* The client's transitions: one attempt; the word is re-read by the caller if it lost a race. */
static bool change(uint32_t *slot, enum slab_state from, enum slab_state to)
{
    uint32_t seen = ledger_slot_read(slot);
    return ledger_word_state(seen) == from && ledger_slab_change(slot, seen, LEDGER_CLIENT, to);
}

/*
 * The word is not what we left there: the daemon has ended the connection (the program closed our
 * descriptor, say) before we noticed. The memory stays ours, an orphan in the daemon's books;
 * nobody punches it or leases it to others.
 */
static void disown(struct superslab *slab)
{
    slab->slot = LEDGER_SLOT_NONE;
}

void extents_set_private(uint32_t index)
{
    struct superslab *slab = window_slab(index);
    slab->backing = SUPERSLAB_PRIVATE;
    window_set_kind(slab, SUPERSLAB_NONE);
    slab->slot = LEDGER_SLOT_NONE;
    slab->extent_fd = -1;
    slab->zero = true;
    slab->is_untouched = true;
    slab->is_sparse = slab->is_kept = false;
    slab->idle_since_s = glue_now_s();
}

static void set_leased(uint32_t first, const struct link_extent *arrived, uint32_t era)
{
    for (uint32_t i = 0; i < arrived->n_slabs; i++) {
        struct superslab *slab = window_slab(first + i);
        slab->backing = SUPERSLAB_LEASED;
        window_set_kind(slab, SUPERSLAB_NONE);
        slab->zero = true;
        slab->is_untouched = true;
        slab->is_sparse = slab->is_kept = slab->is_mapped_in = false;
        slab->huge_page = arrived->huge_slabs == arrived->n_slabs;
        slab->extent_first = first;
        slab->extent_slabs = (uint8_t)arrived->n_slabs;
        slab->extent_id = arrived->id;
        slab->extent_fd = i == 0 ? arrived->fd : -1;
        slab->extent_inode = arrived->inode;
        slab->era = era;
        slab->slot = arrived->first_slot + i;
        slab->generation = generation;
        slab->idle_since_s = glue_now_s();
    }
}

static bool enter_ledger(const struct link_extent *arrived)
{
    if (!ledger)
        return false;
    for (uint32_t i = 0; i < arrived->n_slabs; i++) {
        uint32_t *slot = &ledger->slots[arrived->first_slot + i];
        /* Unused as yet: the daemon may have it back if it stays so. */
        if (!change(slot, SLAB_EMPTY, SLAB_ACTIVE) || !change(slot, SLAB_ACTIVE, SLAB_IDLE))
            return false;
    }
    return true;
}

bool extents_map(struct link_extent *arrived, uint32_t first)
{
    uint32_t n_slabs = arrived->n_slabs;
    uint32_t era = originals_era();
    void *at = window_address(first);
    size_t n_bytes = superslab_bytes(n_slabs);
    if (!glue_map_shared(at, n_bytes, arrived->fd)) {
        window_drop(first, n_slabs);
        glue_close(arrived->fd);
        return false;
    }
    /* Not prewarmed: where the kernel lets shared memory have huge pages on request, this is the
     * request. */
    if (arrived->huge_slabs < n_slabs)
        glue_huge_pages(at, n_bytes);
    if (settings.dontfork)
        glue_dont_fork(at, n_bytes);
    if (!enter_ledger(arrived)) {
        /* If this fails too, the address space is lost, nothing else. */
        if (glue_unmap(at, n_bytes))
            window_drop(first, n_slabs);
        glue_close(arrived->fd);
        return false;
    }
    arrived->fd = extentfile_adopt(arrived->fd);
    set_leased(first, arrived, era);
    return true;
}

bool extents_unmap(uint32_t first)
{
    struct superslab *slab = window_slab(first);
    uint32_t n_slabs = slab->extent_slabs, n_left = 0;

    /* Out of the daemon's reach first: it must not punch what it may soon lease to somebody else.
     */
    for (; n_left < n_slabs; n_left++) {
        uint32_t *slot = slot_of(window_slab(first + n_left));
        if (slot && ledger_word_state(ledger_slot_read(slot)) != SLAB_EMPTY &&
            !change(slot, SLAB_RECLAIMED, SLAB_EMPTY) && !change(slot, SLAB_IDLE, SLAB_EMPTY) &&
            !change(slot, SLAB_PINNED, SLAB_EMPTY))
            break;
    }
    bool unmapped = n_left == n_slabs && glue_unmap(window_address(first), extent_bytes(slab));
    if (!unmapped) {
        for (uint32_t i = first; i < first + n_left; i++) {
            uint32_t *slot = slot_of(window_slab(i));
            if (slot && change(slot, SLAB_EMPTY, SLAB_ACTIVE) &&
                window_slab(i)->backing == SUPERSLAB_COPIED)
                change(slot, SLAB_ACTIVE, SLAB_PINNED); /* as it was */
            window_slab(i)->zero = false;
        }
        extents_deactivate(first, n_left);
        return false;
    }
    extentfile_drop(slab);
    originals_forget(first, n_slabs);
    for (uint32_t i = first; i < first + n_slabs; i++) {
        window_slab(i)->backing = SUPERSLAB_UNBACKED;
        window_set_kind(window_slab(i), SUPERSLAB_NONE);
    }
    window_drop(first, n_slabs);
    return true;
}

static bool activate(struct superslab *slab, uint32_t *slot, bool or_cold)
{
    for (;;) {
        uint32_t seen = ledger_slot_read(slot);
        switch (ledger_word_state(seen)) {
        case SLAB_IDLE:
            if (!ledger_slab_change(slot, seen, LEDGER_CLIENT, SLAB_ACTIVE))
                continue;
            if (check_unlikely(!slab->huge_page && !slab->is_mapped_in)) {
                glue_populate(address_of(slab), SUPERSLAB_BYTES);
                slab->is_mapped_in = true;
            }
            return true;
        case SLAB_RECLAIMED:
            PROBE2(reclaim__seen, slab->extent_id, address_of(slab));
            if (!or_cold)
                return false;
            if (!ledger_slab_change(slot, seen, LEDGER_CLIENT, SLAB_ACTIVE))
                continue;
            slab->zero = true;
            slab->is_mapped_in = false;
            return true;
        case SLAB_RECLAIMING:
            return false;
        default:
            /* EMPTY: see disown(). PINNED: a signal handler forked just now. */
            if (ledger_word_state(seen) == SLAB_EMPTY)
                disown(slab);
            return true;
        }
    }
}

uint32_t extents_activate(uint32_t first, uint32_t n_slabs, bool or_cold)
{
    for (uint32_t n = 0; n < n_slabs; n++) {
        struct superslab *slab = window_slab(first + n);
        uint32_t *slot = slab->backing == SUPERSLAB_LEASED ? slot_of(slab) : NULL;
        if (slot && !activate(slab, slot, or_cold))
            return n;
    }
    return n_slabs;
}

void extents_deactivate(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first; i < first + n_slabs; i++) {
        struct superslab *slab = window_slab(i);
        uint32_t *slot = slab->backing == SUPERSLAB_LEASED ? slot_of(slab) : NULL;
        if (!slot)
            continue;
        if (check_likely(change(slot, SLAB_ACTIVE, SLAB_IDLE)))
            PROBE2(idle, slab->extent_id, window_address(i));
        else if (ledger_word_state(ledger_slot_read(slot)) == SLAB_EMPTY)
            disown(slab);
    }
}

/*
 * A free SuperSlab of a connection that has ended. The daemon may live, and may not have seen the
 * end yet: until it does it reads our words and punches what is IDLE. ACTIVE it never touches, so
 * that is what they become; one that it is punching right now cannot be won back: private memory
 * takes its place.
 */
static void rescue(uint32_t index, uint32_t *slot)
{
    struct superslab *slab = window_slab(index);
    unsigned n_looks = 0;
    for (;;) {
        uint32_t seen = ledger_slot_read(slot);
        enum slab_state state = ledger_word_state(seen);
        if (state == SLAB_RECLAIMING) {
            /* Without memory for that: the punch ends soon, or its daemon is dead and it has. */
            if (!glue_map_private(window_address(index), SUPERSLAB_BYTES) && n_looks++ < 1000)
                continue;
            slab->backing = SUPERSLAB_COPIED; /* no longer the file's, at a fork either */
            slab->era = ORIGINALS_NO_ERA;
            slab->zero = false;
            return;
        }
        if (state != SLAB_IDLE && state != SLAB_RECLAIMED)
            return;
        if (ledger_slab_change(slot, seen, LEDGER_CLIENT, SLAB_ACTIVE)) {
            slab->zero = slab->zero || state == SLAB_RECLAIMED;
            return;
        }
    }
}

static void rescue_all(uint32_t begin, uint32_t end)
{
    for (uint32_t i = begin; i < end; i++) {
        struct superslab *slab = window_slab(i);
        uint32_t *slot = slab->backing == SUPERSLAB_LEASED ? slot_of(slab) : NULL;
        if (slot && window_kind(slab) == SUPERSLAB_FREE)
            rescue(i, slot);
    }
}

void extents_sync(void)
{
    if (link_words() == ledger && (!ledger || link_generation() == generation))
        return;
    if (ledger) {
        rescue_all(0, window.high_low);
        rescue_all(window.n_apart, window.high_apart);
    }
    ledger = link_words();
    generation = link_generation();
}

void extents_forget_link(void)
{
    ledger = NULL;
}

bool extents_is_current(uint32_t index)
{
    return ledger && window_slab(index)->generation == generation;
}

/* Still shared after a fork: no copy could be made. */
static bool is_pinned(uint32_t index)
{
    uint32_t *slot = slot_of(window_slab(index));
    return slot && ledger_word_state(ledger_slot_read(slot)) == SLAB_PINNED;
}

enum extents_worth extents_worth(uint32_t first)
{
    struct superslab *slab = window_slab(first);
    /* While the daemon is being restarted nobody could be told, and it may be the next one's. */
    if (extents_is_current(first) && !link_ledger())
        return EXTENTS_IN_USE;
    bool is_stale = slab->backing == SUPERSLAB_COPIED || !slot_of(slab) || is_pinned(first);
    uint32_t now_s = glue_now_s();
    for (uint32_t i = first; i < first + slab->extent_slabs; i++) {
        struct superslab *part = window_slab(i);
        if (window_kind(part) != SUPERSLAB_FREE ||
            (is_stale && now_s - part->idle_since_s <= STALE_IDLE_S))
            return EXTENTS_IN_USE;
        uint32_t *slot = slot_of(part);
        if (!is_stale && (!slot || ledger_word_state(ledger_slot_read(slot)) != SLAB_RECLAIMED))
            return EXTENTS_IN_USE;
    }
    return is_stale ? EXTENTS_STALE : EXTENTS_RECLAIMED;
}

static void pin_unless(uint32_t index, bool is_reclaiming)
{
    uint32_t *slot = slot_of(window_slab(index));
    while (slot) {
        uint32_t seen = ledger_slot_read(slot);
        enum slab_state state = ledger_word_state(seen);
        /* EMPTY: see disown(). */
        if (state == SLAB_PINNED || state == SLAB_EMPTY ||
            (state == SLAB_RECLAIMING && is_reclaiming) ||
            ledger_slab_change(slot, seen, LEDGER_CLIENT, SLAB_PINNED))
            break;
    }
}

static void pin_one(uint32_t index)
{
    pin_unless(index, false);
}

/*
 * The daemon must not punch what a child reads, so the slots are pinned before the copy begins. One
 * that it is punching holds no block. It is pinned when the copy is made, whatever the punch leaves
 * of that: nobody relies on it. Where none could be made the pages are the punch's as before.
 */
static void pin(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first; i < first + n_slabs; i++)
        pin_unless(i, true);
}

static bool is_any_shared(uint32_t first)
{
    for (uint32_t i = first; i < first + window_slab(first)->extent_slabs; i++) {
        if (window_slab(i)->backing == SUPERSLAB_LEASED)
            return true;
    }
    return false;
}

/* A process that has as many mappings as it may, and then one, can have no other even in the place
 * of one: until one has gone. */
static bool map_copy(void *at, size_t n_bytes, int fd, size_t offset)
{
    return glue_map_copy(at, n_bytes, fd, offset) ||
           (originals_give_up_mapping() && glue_map_copy(at, n_bytes, fd, offset));
}

/* Some of it could not even be left out of the child. */
static bool is_exposed;

/*
 * Where no copy can be made, the child gets none of it rather than a share in its parent's. It
 * stays leased and pinned, unless the daemon is punching it, and the next fork tries again.
 */
static void keep_from_child(uint32_t index, uint32_t n_slabs)
{
    if (!glue_dont_fork(window_address(index), superslab_bytes(n_slabs)))
        is_exposed = true;
    for (uint32_t i = index; i < index + n_slabs; i++)
        window_slab(i)->zero = false;
}

void extents_withhold(uint32_t index)
{
    struct superslab *slab = window_slab(index);
    void *at = window_address(index);
    bool is_free = window_kind(slab) == SUPERSLAB_FREE;
    if (settings.test_no_fork_conversion)
        return;
    /* What is free holds nothing: it is as good new. For the rest, address space of no use to
     * anybody: a hole might be filled by whatever the program maps next. */
    if (!(is_free && glue_map_private(at, SUPERSLAB_BYTES)) && !glue_unmap(at, SUPERSLAB_BYTES))
        check_or_trap(!is_exposed);
    slab->backing = SUPERSLAB_COPIED;
    slab->slot = LEDGER_SLOT_NONE;
    slab->era = ORIGINALS_NO_ERA;
    slab->zero = false;
}

uint32_t extents_convert(uint32_t index)
{
    uint32_t first = window_slab(index)->extent_first, n_slabs = 0;
    struct superslab *head = window_slab(first);
    uint32_t end = first + head->extent_slabs;
    void *at = window_address(index);

    while (index + n_slabs < end && window_slab(index + n_slabs)->backing == SUPERSLAB_LEASED)
        n_slabs++;
    if (settings.test_no_fork_conversion)
        return n_slabs;
    pin(index, n_slabs);
    size_t n_bytes = superslab_bytes(n_slabs);
    size_t offset = superslab_bytes(index - first);
    bool is_copy = extentfile_is_ours(head) && !glue_is_hugetlb(head->extent_fd) &&
                   map_copy(at, n_bytes, head->extent_fd, offset);
    /*
     * The program closed our descriptor (or the kernel is out of mappings), or the pages are of
     * hugetlb: where none are left for the copies, a write would kill. A copy by hand is exact as
     * long as no other thread writes meanwhile.
     */
    if (!is_copy && !glue_copy_in_place(at, n_bytes)) {
        keep_from_child(index, n_slabs);
        return n_slabs;
    }
    for (uint32_t i = index; i < index + n_slabs; i++) {
        pin_one(i);
        window_slab(i)->backing = SUPERSLAB_COPIED;
        /* A page that the daemon was about to punch reads as anything. */
        window_slab(i)->zero = false;
        if (!is_copy)
            window_slab(i)->era = ORIGINALS_NO_ERA;
    }
    if (is_copy)
        originals_watch(index, n_slabs);
    if (!is_any_shared(first) && !originals_are_watched(first))
        extentfile_drop(head);
    return n_slabs;
}
