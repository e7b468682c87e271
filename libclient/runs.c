/*
 * See runs.h.
 *
 * Invariants, under `lock`: a SuperSlab of kind UNITS with longest_free_run = n > 0 is in
 * buckets[n], counting free units without holes; one without any is in no list; bit n of `filled`
 * is set exactly if buckets[n] is not empty; none has all of its units free. idle_units is part of
 * the free and dirty ones, purged_units of the free ones that are not dirty and of holed_units,
 * which are the free ones with holes.
 */
#include "libclient/runs.h"

#include "common/check.h"
#include "libclient/firstregion.h"
#include "libclient/glue.h"
#include "libclient/holes.h"
#include "libclient/lock.h"
#include "libclient/source.h"
#include "libclient/tables.h"
#include "libclient/window.h"

#define ALL_UNITS 0xffffffffu

#define FIRST_INDEX 0u /* the SuperSlab that source_init() maps */

/* From so much held on units with holes are left alone; else so many SuperSlabs are looked at for
 * them. */
#define SHUNNING_MIN_BYTES ((uint64_t)32 << 20)
#define HOLED_LOOKS        64u

static_assert(UNITS_PER_SUPERSLAB == 32, "unit masks are 32 bits");

static struct lock lock;
static struct list buckets[UNITS_PER_SUPERSLAB + 1];
static uint64_t filled;
/* SuperSlabs of kind UNITS. (`kind` itself is read under its owner's lock alone.) */
static TABLE_LARGE uint64_t carved[BITMAP_WORDS(WINDOW_MAX_SLABS)];
static uint32_t carved_end; /* none from here on; only grows */
static uint32_t holed_cursor;
static uint32_t n_carved, large_units; /* read without the lock */

struct lock *runs_lock(void)
{
    return &lock;
}

bool runs_is_in_first_region(const void *run)
{
    /* Its own: it does not change while it is in use. */
    return window_slab(window_index(run))->is_first_region;
}

uint64_t runs_carved_bytes(void)
{
    return (uint64_t)atomic_load_relaxed(&n_carved) << SUPERSLAB_SHIFT;
}

uint64_t runs_large_bytes(void)
{
    return (uint64_t)atomic_load_relaxed(&large_units) << UNIT_SHIFT;
}

/* Under the lock. */
static void count_units(unsigned class, int change)
{
    if (class == CLASS_LARGE)
        atomic_store_relaxed(&large_units, large_units + (uint32_t)change);
}

static void count_carved(int change)
{
    atomic_store_relaxed(&n_carved, n_carved + (uint32_t)change);
}

void runs_init(void)
{
    glue_populate_pages(carved, sizeof(carved[0]));
    for (unsigned n = 0; n <= UNITS_PER_SUPERSLAB; n++)
        list_init(&buckets[n]);
}

static uint32_t mask_of(unsigned first, unsigned n)
{
    return (uint32_t)((((uint64_t)1 << n) - 1) << first);
}

/* Bits at which n set bits in a row begin. */
static uint32_t run_starts(uint32_t free_units, unsigned n)
{
    uint32_t starts = free_units;
    unsigned have = 1;
    while (have < n && starts) {
        unsigned step = have < n - have ? have : n - have;
        starts &= starts >> step;
        have += step;
    }
    return starts;
}

static uint8_t longest_run(uint32_t free_units)
{
    uint8_t n = 0;
    while (free_units) {
        free_units &= free_units >> 1;
        n++;
    }
    return n;
}

static void unlist(struct superslab *slab)
{
    if (slab->longest_free_run == 0)
        return;
    list_remove(&slab->link);
    if (list_is_empty(&buckets[slab->longest_free_run]))
        filled &= ~((uint64_t)1 << slab->longest_free_run);
}

static void relist(struct superslab *slab)
{
    slab->longest_free_run = longest_run(slab->free_units & ~slab->holed_units);
    if (slab->longest_free_run == 0)
        return;
    list_push_front(&buckets[slab->longest_free_run], &slab->link);
    filled |= (uint64_t)1 << slab->longest_free_run;
}

/* Starts at which a run may begin, by alignment. */
static uint32_t aligned_starts(unsigned align_units)
{
    uint32_t mask = 1;
    for (unsigned shift = align_units; shift < UNITS_PER_SUPERSLAB; shift *= 2)
        mask |= mask << shift;
    return mask;
}

/* What the memory of units that are taken is like. */
struct taken {
    bool zero;
    bool holed; /* pages of it had gone, and each of these would cost a fault */
};

static size_t first_unit_number(const struct superslab *slab)
{
    return (size_t)(slab - window.slabs) * UNITS_PER_SUPERSLAB;
}

/* They are in use again. */
static void close_holes(struct superslab *slab, uint32_t units)
{
    slab->holed_units &= ~units;
    for (; units; units &= units - 1) {
        size_t unit = first_unit_number(slab) + (unsigned)__builtin_ctz(units);
        holes_close(unit, holes_of_unit[unit]);
    }
}

/* Their SuperSlab is not in use any more: whatever comes of it. */
static void forget_holes(struct superslab *slab)
{
    for (uint32_t units = slab->holed_units; units; units &= units - 1)
        holes_forget(first_unit_number(slab) + (unsigned)__builtin_ctz(units));
    slab->holed_units = 0;
}

/* Which of the units that have come back have holes. */
static uint32_t find_holed(const struct superslab *slab, uint32_t units)
{
    const uint16_t *holes = holes_if_any();
    uint32_t holed = 0;
    for (; holes && units; units &= units - 1) {
        unsigned unit = (unsigned)__builtin_ctz(units);
        holed |= (uint32_t)(holes[first_unit_number(slab) + unit] != 0) << unit;
    }
    return holed;
}

static void *take(struct superslab *slab, unsigned first, unsigned n_units, unsigned class,
                  struct taken *taken)
{
    uint32_t mask = mask_of(first, n_units);
    unlist(slab);
    slab->free_units &= ~mask;
    taken->zero = (slab->dirty_units & mask) == 0;
    taken->holed = (slab->holed_units & mask) != 0;
    close_holes(slab, slab->holed_units & mask);
    slab->dirty_units |= mask;
    slab->idle_units &= ~mask;
    slab->purged_units &= ~mask;
    for (unsigned i = first; i < first + n_units; i++)
        slab->first_unit[i] = (uint8_t)first;
    relist(slab);
    char *run = (char *)window_address((uint32_t)(slab - window.slabs)) + first * UNIT_BYTES;
    window_set_class(run, n_units, class);
    count_units(class, (int)n_units);
    return run;
}

static struct firstregion_use count_use(void)
{
    struct firstregion_use use = firstregion_no_use();
    for (uint32_t i = 0; (i = bitmap_next(carved, i, carved_end, true)) < carved_end; i++)
        firstregion_add_use(&use, window_slab(i));
    return use;
}

/* Which SuperSlabs are asked. */
enum among {
    AMONG_FIRST_REGION, /* as far as its units are for such a request */
    AMONG_OTHERS,
    AMONG_ALL,     /* these two */
    AMONG_WHATEVER /* there is: nothing else is left, units are not to be saved */
};

/* What is wanted, what that shows of the program, and where it is looked for. */
struct request {
    unsigned n_units, class;
    uint32_t starts; /* where a run may begin, by its alignment */
    bool grows;
    enum among among;
    struct firstregion_use use; /* while the program has not outgrown the first region */
};

static uint32_t eligible_units(const struct superslab *slab, const struct request *request)
{
    if (request->among == AMONG_WHATEVER)
        return slab->free_units;
    if (!slab->is_first_region)
        return request->among == AMONG_FIRST_REGION ? 0 : slab->free_units;
    return request->among == AMONG_OTHERS
               ? 0
               : firstregion_eligible_units(slab, request->n_units, request->class, request->grows,
                                            &request->use);
}

/*
 * Units with holes are not taken while there is new memory to be had instead: each page of theirs
 * would cost a fault, and stay small, where a new SuperSlab has a huge page; what remains of theirs
 * may empty meanwhile. So address space and leases, but not memory, are up to twice what is held.
 * Not in a small heap, of which one SuperSlab is a large part.
 */
static bool shuns_holes(void)
{
    uint64_t all = runs_carved_bytes(), holes = holes_bytes();
    return all >= holes + SHUNNING_MIN_BYTES && holes < all - holes;
}

static void *take_of(struct superslab *slab, uint32_t units, const struct request *request,
                     struct taken *taken)
{
    units &= eligible_units(slab, request);
    uint32_t starts = run_starts(units, request->n_units) & request->starts;
    return starts ? take(slab, (unsigned)__builtin_ctz(starts), request->n_units, request->class,
                         taken)
                  : NULL;
}

static void *take_whole(const struct request *request, struct taken *taken)
{
    uint64_t candidates = filled & ~(((uint64_t)1 << request->n_units) - 1);
    while (candidates) {
        unsigned n = (unsigned)__builtin_ctzl(candidates);
        candidates &= candidates - 1;
        list_for_each(link, &buckets[n])
        {
            struct superslab *slab = list_entry(link, struct superslab, link);
            void *run = take_of(slab, slab->free_units & ~slab->holed_units, request, taken);
            if (run)
                return run;
        }
    }
    return NULL;
}

/* From where the last one was found. */
static void *take_holed(const struct request *request, struct taken *taken)
{
    for (unsigned looks = 0; looks < HOLED_LOOKS && looks < n_carved; looks++) {
        holed_cursor = bitmap_next(carved, holed_cursor, carved_end, true);
        if (holed_cursor == carved_end)
            holed_cursor = bitmap_next(carved, 0, carved_end, true);
        struct superslab *slab = window_slab(holed_cursor);
        void *run = slab->holed_units ? take_of(slab, slab->free_units, request, taken) : NULL;
        if (run)
            return run;
        holed_cursor++;
    }
    return NULL;
}

static void *take_anywhere(struct request *request, enum among among, struct taken *taken)
{
    request->among = among;
    void *run = take_whole(request, taken);
    if (!run && holes_bytes() > 0 && (among == AMONG_WHATEVER || !shuns_holes()))
        run = take_holed(request, taken);
    return run;
}

/* A whole SuperSlab joins. */
static void begin_slab(uint32_t index, bool is_zero, bool is_small)
{
    struct superslab *slab = window_slab(index);
    window_set_kind(slab, SUPERSLAB_UNITS);
    slab->zeroed_units = 0;
    slab->free_units = ALL_UNITS;
    slab->dirty_units = is_zero ? 0 : ALL_UNITS;
    slab->idle_units = slab->purged_units = slab->holed_units = 0;
    slab->is_first_region = is_small || index == FIRST_INDEX;
    slab->is_split =
        slab->is_first_region || (slab->backing == SUPERSLAB_LEASED && !slab->huge_page);
    slab->has_small_pages = is_small;
    slab->longest_free_run = 0;
    list_init(&slab->link);
    bitmap_set(carved, index);
    count_carved(1);
    if (index >= carved_end)
        carved_end = index + 1;
}

static bool is_wide(const struct request *request)
{
    return request->class == CLASS_LARGE && request->n_units >= FIRSTREGION_WIDE_UNITS;
}

/* Among the SuperSlabs there are. *is_few: NULL, and one more of the first region is to serve. */
static void *find(struct request *request, struct taken *taken, bool *is_few)
{
    void *run = NULL;
    *is_few = false;
    if (!firstregion_is_outgrown()) {
        request->use = count_use();
        /* Of a class's first span little may ever be touched, nor of a wide block; to what else
         * grows, the rest of a huge page, which is there anyway, costs nothing. */
        enum among first = request->grows && !is_wide(request) ? AMONG_OTHERS : AMONG_FIRST_REGION;
        run = take_anywhere(request, first, taken);
        if (!run)
            run = take_anywhere(request, AMONG_ALL, taken);
        *is_few = !run && firstregion_may_extend(request->n_units, request->class, &request->use);
        return run;
    }
    if (firstregion_suits(request->class, request->grows, n_carved)) {
        run = take_anywhere(request, AMONG_FIRST_REGION, taken);
        *is_few = !run && firstregion_has_room();
    }
    return run || *is_few ? run : take_anywhere(request, AMONG_ALL, taken);
}

static void *allocate(struct request *request, struct taken *taken)
{
    bool is_few;
    lock_acquire(&lock);
    void *run = find(request, taken, &is_few);
    lock_release(&lock);
    if (run)
        return run;

    uint32_t index;
    bool is_zero, is_small = false;
    /* What shows that the program grows is worth a lease. */
    bool unshared = is_wide(request) || !request->grows;
    bool ok = is_few && source_acquire_few(unshared, &index, &is_zero, &is_small);
    if (!ok && !source_acquire(SOURCE_FOR_UNITS, 1, 1, &index, &is_zero)) {
        lock_acquire(&lock);
        run = take_anywhere(request, AMONG_WHATEVER, taken);
        lock_release(&lock);
        return run;
    }
    lock_acquire(&lock);
    if (is_small)
        firstregion_extend();
    else if (index != FIRST_INDEX && !firstregion_is_sparse(&request->use))
        firstregion_outgrow();
    begin_slab(index, is_zero, is_small);
    if (is_zero && !is_small)
        holes_count_new(SUPERSLAB_BYTES);
    run = take(window_slab(index), 0, request->n_units, request->class, taken);
    lock_release(&lock);
    return run;
}

void *runs_allocate(unsigned n_units, unsigned align_units, unsigned class, bool grows, bool *zero)
{
    struct request request = {
        .n_units = n_units, .class = class, .starts = aligned_starts(align_units), .grows = grows};
    struct taken taken;
    void *run = allocate(&request, &taken);
    if (!run)
        return NULL;
    /* One call takes about as long as one of the faults. Of a large block the program may want to
     * use little. */
    if (taken.holed && class != CLASS_LARGE)
        glue_populate(run, n_units * UNIT_BYTES);
    *zero = taken.zero;
    return run;
}

/* Puts units back. True: the SuperSlab has emptied and is unlisted, the caller's to release. */
static bool give_back(struct superslab *slab, unsigned first, unsigned n_units)
{
    uint32_t mask = mask_of(first, n_units);
    check_or_trap((slab->free_units & mask) == 0);
    unlist(slab);
    slab->free_units |= mask;
    slab->holed_units |= find_holed(slab, mask);
    if (slab->free_units == ALL_UNITS) {
        forget_holes(slab);
        slab->longest_free_run = 0;
        window_set_kind(slab, SUPERSLAB_NONE);
        bitmap_clear(carved, (uint32_t)(slab - window.slabs));
        count_carved(-1);
        return true;
    }
    relist(slab);
    return false;
}

/* An emptied SuperSlab goes. */
static void release(uint32_t index)
{
    struct superslab *slab = window_slab(index);
    if (slab->is_split)
        slab->huge_page = false;
    if (slab->has_small_pages)
        glue_huge_pages(window_address(index), SUPERSLAB_BYTES);
    source_release(index, 1);
}

void runs_free(void *run, unsigned n_units)
{
    uint32_t index = window_index(run);
    unsigned class = window_class(run);
    lock_acquire(&lock);
    window_set_class(run, n_units, CLASS_NONE); /* firstregion.c looks at it, under the lock */
    count_units(class, -(int)n_units);
    bool is_empty = give_back(window_slab(index), window_unit(run), n_units);
    lock_release(&lock);
    if (is_empty)
        release(index);
}

bool runs_resize(void *run, unsigned n_old, unsigned n_new, unsigned class)
{
    struct superslab *slab = window_slab(window_index(run));
    unsigned first = window_unit(run);
    bool ok = true;
    if (n_new == n_old)
        return true;
    if (first + n_new > UNITS_PER_SUPERSLAB)
        return false;
    lock_acquire(&lock);
    if (n_new < n_old) {
        window_set_class((char *)run + n_new * UNIT_BYTES, n_old - n_new, CLASS_NONE);
        count_units(class, (int)n_new - (int)n_old);
        give_back(slab, first + n_new, n_old - n_new);
    } else {
        uint32_t more = mask_of(first + n_old, n_new - n_old);
        ok = (slab->free_units & more) == more;
        if (ok) {
            struct taken taken;
            take(slab, first + n_old, n_new - n_old, class, &taken);
            for (unsigned i = first + n_old; i < first + n_new; i++)
                slab->first_unit[i] = (uint8_t)first;
        }
    }
    lock_release(&lock);
    return ok;
}

/* ---- for purge.c ---- */

bool runs_next_carved(uint32_t *index)
{
    if (!lock_try_acquire(&lock))
        return false;
    uint32_t next =
        *index < carved_end ? bitmap_next(carved, *index, carved_end, true) : carved_end;
    *index = next < carved_end ? next : BITMAP_NONE;
    lock_release(&lock);
    return true;
}

bool runs_look(uint32_t index, bool at_once, struct runs_look *look)
{
    if (!lock_try_acquire(&lock))
        return false;
    /* What was copied at a fork is not ours to give back: originals.h. */
    bool is_carved = bitmap_test(carved, index) && window_slab(index)->backing != SUPERSLAB_COPIED;
    if (is_carved) {
        struct superslab *slab = window_slab(index);
        uint32_t idle = slab->free_units & slab->dirty_units;
        look->ripe = at_once ? idle : idle & slab->idle_units;
        look->is_split = slab->is_split;
        look->starts = 0;
        slab->idle_units = idle;
        for (unsigned unit = 0; unit < UNITS_PER_SUPERSLAB; unit++) {
            bool begins = !((slab->free_units >> unit) & 1) && slab->first_unit[unit] == unit;
            look->starts |= (uint32_t)begins << unit;
        }
    }
    lock_release(&lock);
    return is_carved;
}

/* From here on parts of it go. */
static void split(struct superslab *slab)
{
    if (slab->is_split)
        return;
    slab->is_split = true;
    if (slab->backing != SUPERSLAB_PRIVATE)
        return;
    /* Else the kernel may make a 2 MiB page of what is left, and all of it is there again. */
    glue_no_huge_pages(window_address((uint32_t)(slab - window.slabs)), SUPERSLAB_BYTES);
    slab->has_small_pages = true;
}

static void open_holes(struct superslab *slab, uint32_t units)
{
    slab->holed_units |= units;
    for (; units; units &= units - 1) {
        size_t unit = first_unit_number(slab) + (unsigned)__builtin_ctz(units);
        holes_open(unit, (uint16_t)(ALL_PAGES & ~holes_of_unit[unit]));
    }
}

static void purge_units(struct superslab *slab, uint32_t units, runs_purge_function *purge)
{
    char *at = window_address((uint32_t)(slab - window.slabs));
    unlist(slab);
    while (units) {
        unsigned first = (unsigned)__builtin_ctz(units), n = 1;
        while (first + n < UNITS_PER_SUPERSLAB && (units >> (first + n)) & 1)
            n++;
        uint32_t mask = mask_of(first, n);
        if (purge(at + first * UNIT_BYTES, n * UNIT_BYTES, slab)) {
            slab->dirty_units &= ~mask;
            slab->idle_units &= ~mask;
            slab->purged_units |= mask;
            open_holes(slab, mask);
        }
        units &= ~mask;
    }
    relist(slab);
}

bool runs_purge(uint32_t index, uint32_t units, runs_purge_function *purge)
{
    if (!lock_try_acquire(&lock))
        return false;
    struct superslab *slab = window_slab(index);
    bool is_carved = bitmap_test(carved, index);
    if (is_carved) {
        split(slab);
        slab->is_mapped_in = false; /* source.c's, but not while it is carved */
        purge_units(slab, units & slab->idle_units, purge);
    }
    lock_release(&lock);
    return is_carved;
}

#ifdef HAKMEM_DEBUG
static bool slab_is_valid(const struct superslab *slab, unsigned n)
{
    const char *at = window_address((uint32_t)(slab - window.slabs));
    if (window_kind(slab) != SUPERSLAB_UNITS || slab->free_units == ALL_UNITS ||
        slab->longest_free_run != n || longest_run(slab->free_units & ~slab->holed_units) != n)
        return false;
    if (!bitmap_test(carved, (uint32_t)(slab - window.slabs)) ||
        (slab->idle_units & ~(slab->free_units & slab->dirty_units)) ||
        (slab->purged_units & (slab->dirty_units | ~slab->free_units)) ||
        (slab->holed_units & ~slab->free_units) || (slab->purged_units & ~slab->holed_units) ||
        slab->holed_units != find_holed(slab, slab->free_units))
        return false;
    for (unsigned unit = 0; unit < UNITS_PER_SUPERSLAB; unit++) {
        bool is_free = (slab->free_units >> unit) & 1;
        if (is_free && window_class(at + unit * UNIT_BYTES) != CLASS_NONE)
            return false;
        if (!is_free && slab->first_unit[unit] > unit)
            return false;
    }
    return true;
}

bool runs_are_valid(void)
{
    bool valid = true;
    lock_acquire(&lock);
    for (unsigned n = 1; n <= UNITS_PER_SUPERSLAB && valid; n++) {
        valid = ((filled >> n) & 1) == !list_is_empty(&buckets[n]);
        list_for_each(link, &buckets[n])
        {
            valid = valid && slab_is_valid(list_entry(link, struct superslab, link), n);
        }
    }
    lock_release(&lock);
    return valid;
}
#endif
