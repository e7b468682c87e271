/* See sparse.h. */
#include "libclient/sparse.h"

#include "common/atomic.h"
#include "libclient/holes.h"
#include "libclient/sparsepages.h"
#include "libclient/window.h"

/* Pages of a SuperSlab that are read: one somewhere in each two units. */
#define LOOK_STEP_UNITS 2u
#define LOOK_STEP_BYTES (LOOK_STEP_UNITS * UNIT_BYTES)
/* Fewer tell nothing. */
#define LOOK_MIN_PAGES 4u
#define LINE_WORDS     8u
/* Of a sparse block that is still out at most so much is asked about. */
#define ASK_MAX_SLABS 16u
/* Sparse blocks that are handed out before one that is still out is asked about; as long as few
 * were as expected, and then. */
#define UNSEEN_MAX        4u
#define UNSEEN_PROVEN_MAX 8u
/* A look that finds more touched makes up for so many that do not. Not for all of them: one in 32
 * is at a page that is, in a SuperSlab of which no other was. */
#define CONTRARY_LOOKS 16u
/* More than one of so many pages is more than little. */
#define LITTLE 32u
/* So many trials in a row that went well make up for one that did not. */
#define REDEEMING 16u

#define N_SIZES 20u /* by powers of two of SuperSlabs: the window has 2^19 */

/* What is expected of a size. */
struct expectation {
    uint32_t n_looks;  /* that found little touched, less the others; while not sparse */
    uint32_t n_wanted; /* of these; 0: SPARSE_FIRST_LOOKS */
    uint32_t is_sparse;
    uint32_t n_kept;   /* sparse blocks in a row that were */
    uint32_t n_unseen; /* sparse ones handed out since one was asked about */
    uint32_t last;     /* of these the last, its first SuperSlab */
};

static struct expectation expectations[N_SIZES];
static struct sparse_counters counters;
static uint32_t random_state;

static unsigned size_of(uint32_t n_slabs)
{
    return 31u - (unsigned)__builtin_clz(n_slabs);
}

static uint32_t unseen_max(const struct expectation *e)
{
    return atomic_load_relaxed(&e->n_kept) < REDEEMING ? UNSEEN_MAX : UNSEEN_PROVEN_MAX;
}

static void set(uint32_t *word, uint32_t value)
{
    /* Not written if it is so: all threads read these. */
    if (atomic_load_relaxed(word) != value)
        atomic_store_relaxed(word, value);
}

bool sparse_is_expected(uint32_t n_slabs)
{
    return atomic_load_relaxed(&expectations[size_of(n_slabs)].is_sparse);
}

static uint32_t wanted_looks(const struct expectation *e)
{
    uint32_t n = atomic_load_relaxed(&e->n_wanted);
    return n == 0 ? SPARSE_FIRST_LOOKS : n;
}

/* ---- of cleared blocks ---- */

static void note_look(struct expectation *e, bool was_little)
{
    uint32_t n = atomic_load_relaxed(&e->n_looks);
    n = was_little ? n + 1 : n > CONTRARY_LOOKS ? n - CONTRARY_LOOKS : 0;
    if (n >= wanted_looks(e)) {
        n = 0;
        set(&e->n_kept, 0);
        set(&e->n_unseen, 0);
        set(&e->is_sparse, true);
    }
    set(&e->n_looks, n);
}

static bool is_zero(const void *page)
{
    const uint64_t *words = page;
    for (unsigned line = 0; line < PAGE_BYTES / sizeof(*words); line += LINE_WORDS) {
        uint64_t any = 0;
        for (unsigned i = 0; i < LINE_WORDS; i++)
            any |= words[line + i];
        if (any)
            return false;
    }
    return true;
}

/* Not always the same page, lest the program's habits decide. */
static const char *some_page(const char *from)
{
    uint32_t next = atomic_load_relaxed(&random_state) * 1664525u + 1013904223u;
    atomic_store_relaxed(&random_state, next);
    return from + (next >> 16) % (LOOK_STEP_BYTES / PAGE_BYTES) * PAGE_BYTES;
}

void sparse_look_at(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first; i < first + n_slabs; i++) {
        const struct superslab *slab = window_slab(i);
        const char *at = window_address(i);
        unsigned n_pages = slab->zeroed_units / LOOK_STEP_UNITS, n_touched = 0;
        for (unsigned k = 0; k < n_pages; k++)
            n_touched += !is_zero(some_page(at + k * LOOK_STEP_BYTES));
        if (n_pages >= LOOK_MIN_PAGES)
            note_look(&expectations[slab->zeroed_size], n_touched * LITTLE <= n_pages);
    }
}

void sparse_note_cleared(uint32_t first, uint32_t n_slabs, size_t n_bytes)
{
    size_t n_units = n_bytes >> UNIT_SHIFT; /* whole ones */
    for (uint32_t i = first; i < first + n_slabs; i++) {
        size_t n_here = n_units < UNITS_PER_SUPERSLAB ? n_units : UNITS_PER_SUPERSLAB;
        window_slab(i)->zeroed_units = (uint8_t)n_here;
        window_slab(i)->zeroed_size = (uint8_t)size_of(n_slabs);
        n_units -= n_here;
    }
}

/* ---- of sparse blocks ---- */

static void note_kept(struct expectation *e, bool was_little)
{
    set(&e->n_unseen, 0);
    /* What is freed after the trial has ended says nothing new. */
    if (!atomic_load_relaxed(&e->is_sparse))
        return;
    if (was_little) {
        uint32_t n = atomic_load_relaxed(&e->n_kept);
        if (n == REDEEMING)
            set(&e->n_wanted, SPARSE_FIRST_LOOKS);
        else
            set(&e->n_kept, n + 1);
        return;
    }
    uint32_t n_wanted = 2 * wanted_looks(e);
    set(&e->n_wanted, n_wanted < SPARSE_MOST_LOOKS ? n_wanted : SPARSE_MOST_LOOKS);
    set(&e->n_looks, 0);
    set(&e->is_sparse, false);
    atomic_add_relaxed(&counters.n_misjudged, 1);
}

static bool is_little(size_t n_pages, size_t n_slabs)
{
    return n_pages * LITTLE <= n_slabs * (SUPERSLAB_BYTES / PAGE_BYTES);
}

static bool is_last_little(const struct expectation *e, uint32_t n_slabs)
{
    uint32_t last = atomic_load_relaxed(&e->last);
    if (n_slabs > ASK_MAX_SLABS)
        n_slabs = ASK_MAX_SLABS;
    return is_little(sparsepages_count(window_address(last), superslab_bytes(n_slabs)), n_slabs);
}

void sparse_note_sparse(uint32_t first, uint32_t n_slabs)
{
    struct expectation *e = &expectations[size_of(n_slabs)];
    uint32_t n = atomic_load_relaxed(&e->n_unseen) + 1;
    atomic_add_relaxed(&counters.n_blocks, 1);
    /* A program that frees none must not fill them all in small pages. (Whether the last one is
     * still out does not matter: to ask about an address of the window does no harm.) */
    if (n > unseen_max(e))
        note_kept(e, is_last_little(e, 1u << size_of(n_slabs)));
    else
        atomic_store_relaxed(&e->n_unseen, n);
    atomic_store_relaxed(&e->last, first);
}

bool sparse_must_count(uint32_t n_slabs)
{
    const struct expectation *e = &expectations[size_of(n_slabs)];
    return atomic_load_relaxed(&e->n_kept) < REDEEMING ||
           atomic_load_relaxed(&e->n_unseen) >= UNSEEN_PROVEN_MAX;
}

void sparse_note_freed(uint32_t n_slabs, size_t n_resident)
{
    note_kept(&expectations[size_of(n_slabs)], is_little(n_resident, n_slabs));
}

void sparse_note_failure(uint32_t n_slabs)
{
    note_kept(&expectations[size_of(n_slabs)], false);
}

struct sparse_counters sparse_counters(void)
{
    return (struct sparse_counters){
        .n_blocks = atomic_load_relaxed(&counters.n_blocks),
        .n_misjudged = atomic_load_relaxed(&counters.n_misjudged),
    };
}
