/* See window.h. */
#include "libclient/window.h"

#include "common/atomic.h"
#include "common/check.h"
#include "libclient/glue.h"
#include "libclient/tables.h"

/* User address space that the flat map covers: 47 bits on x86-64; 48 elsewhere. */
#if defined(__x86_64__)
#define ADDRESS_BITS 47
#else
#define ADDRESS_BITS 48
#endif
#define FLAT_MAP_BYTES ((size_t)1 << (ADDRESS_BITS - UNIT_SHIFT))

/* Metadata becomes usable for this many SuperSlabs at once: 256 MiB, one page of the unit map. */
#define CHUNK_SLABS 128u
#define N_CHUNKS    (WINDOW_MAX_SLABS / CHUNK_SLABS)

#define ARENA_BYTES       ((size_t)2 << 30)
#define ARENA_BYTES_SMALL ((size_t)4 << 20) /* under a limited address space */
#define ARENA_STEP_BYTES  ((size_t)256 << 10)

struct window window;

static const uint8_t empty_map[2];
struct window_fast window_fast = {.map = empty_map, .shift = 63};
static bool fast_path_is_disabled; /* for good, also if the window is reserved only later */

/* Where the parts of the window end by now; what lies behind was given up. */
static uint32_t end_low, end_apart;

static TABLE_LARGE uint64_t taken[BITMAP_WORDS(WINDOW_MAX_SLABS)];
static uint64_t chunks_usable[BITMAP_WORDS(N_CHUNKS)];

/*
 * Bump allocation in [arena_next, arena_end), usable up to arena_usable; before that in
 * first_arena, which has room for the first thread's cache. Under cache.c's lock, but that
 * shrink_arena() takes from its end under source.c's: each says how far it goes before it looks how
 * far the other does.
 */
static uintptr_t arena_next, arena_usable, arena_end;
static TABLE_LARGE _Alignas(4096) char first_arena[ARENA_STEP_BYTES];
static size_t first_arena_used;

static uintptr_t round_up(uintptr_t value, uintptr_t to)
{
    return (value + to - 1) / to * to;
}

/* Lays the parts out in one reservation of n_slabs. False if there is not that much address space.
 */
static bool reserve(uint32_t n_slabs, bool flat, size_t arena_bytes)
{
    size_t map_bytes =
        flat ? FLAT_MAP_BYTES : round_up((size_t)n_slabs * UNITS_PER_SUPERSLAB, 4096) + 4096;
    size_t slabs_bytes = round_up((size_t)n_slabs * sizeof(struct superslab), 65536);
    size_t n_units = (size_t)n_slabs * UNITS_PER_SUPERSLAB;
    size_t spans_bytes = round_up(n_units * sizeof(struct span), 65536);
    size_t bitmaps_bytes = round_up(n_units * sizeof(struct unit_bitmap), 65536);
    size_t window_bytes = superslab_bytes(n_slabs);
    size_t total = map_bytes + slabs_bytes + spans_bytes + bitmaps_bytes + arena_bytes +
                   window_bytes + 3 * SUPERSLAB_BYTES;

    void *at = glue_reserve(total);
    if (!at)
        return false;
    uintptr_t map = (uintptr_t)at;
    uintptr_t arena = round_up(map + map_bytes, 4096);
    uintptr_t bitmaps = arena + arena_bytes;
    uintptr_t slabs = bitmaps + bitmaps_bytes + spans_bytes;
    /* In the midst of what one page of page table is for, where there is room to move. */
    uintptr_t middle = SUPERSLAB_BYTES / 2;
    if (flat)
        slabs = round_up(slabs + middle, SUPERSLAB_BYTES) - middle;
    uintptr_t base = round_up(slabs + slabs_bytes, SUPERSLAB_BYTES);

    if (!glue_make_readable((void *)map, map_bytes)) {
        glue_unreserve(at, total);
        return false;
    }
    window.base = base;
    window.slabs = (struct superslab *)slabs;
    window.spans = (struct span *)slabs - 1;
    window.bitmaps = (struct unit_bitmap *)bitmaps;
    /* Not flat: biased, so that it is indexed alike. The window's part begins within its first
     * page. */
    window.unit_class = flat ? (uint8_t *)map : (uint8_t *)(map - (base >> UNIT_SHIFT));
    arena_next = arena_usable = arena;
    arena_end = arena + arena_bytes;
    window.n_slabs = n_slabs;
    window.n_apart = window.high_apart = n_slabs / 2;
    end_low = window.n_apart;
    end_apart = n_slabs;
    if (flat && !fast_path_is_disabled) {
        window_fast.map = window.unit_class;
        window_fast.shift = UNIT_SHIFT;
    }
    return true;
}

/* SuperSlabs that take so many sixteenths of an address space of `limit` bytes. */
static uint32_t within_limit(size_t limit, unsigned n_sixteenths)
{
    size_t n = limit / 16 * n_sixteenths >> SUPERSLAB_SHIFT;
    return n > WINDOW_MAX_SLABS ? WINDOW_MAX_SLABS : (uint32_t)n;
}

/*
 * Of a limit that was there from the start: a quarter. The rest is for what the program maps
 * itself, threads' stacks for one, and for blocks that find no room here: lastresort.h. Of one that
 * comes later most, as then much of what is mapped may have to stay, and leave nothing to a last
 * resort.
 */
#define SIXTEENTHS_AT_START 4u
#define SIXTEENTHS_LATER    11u

bool window_init(void)
{
    size_t limit = glue_address_space_limit();
    uint32_t n_slabs = WINDOW_MAX_SLABS;
    glue_populate_pages(taken, sizeof(taken[0]));
    /* Smaller where there are fewer address bits than usual, or an emulator has plans for them. */
    for (; limit == SIZE_MAX && n_slabs >= WINDOW_MAX_SLABS / 64; n_slabs /= 4) {
        if (reserve(n_slabs, true, ARENA_BYTES))
            return true;
    }
    n_slabs = WINDOW_MAX_SLABS / 2;
    uint32_t n_within = within_limit(limit, SIXTEENTHS_AT_START);
    if (n_within < n_slabs)
        n_slabs = n_within;
    for (; n_slabs >= WINDOW_MIN_SLABS; n_slabs /= 2) {
        if (reserve(n_slabs, false, ARENA_BYTES_SMALL))
            return true;
    }
    return false;
}

void window_disable_fast_path(void)
{
    fast_path_is_disabled = true;
    /* The shift first: an empty map is never looked up with the old one. */
    window_fast.shift = 63;
    atomic_compiler_barrier();
    window_fast.map = empty_map;
}

/* By a step. */
static bool extend_arena(void)
{
    uintptr_t usable = arena_usable, end = atomic_load_relaxed(&arena_end);
    size_t step = end - usable < ARENA_STEP_BYTES ? end - usable : ARENA_STEP_BYTES;
    /* Sequentially consistent, both, with those in shrink_arena(): it sees this step, or this sees
     * where it ends. */
    atomic_swap_seq_cst(&arena_usable, usable + step);
    if (step > 0 && usable + step <= atomic_load_seq_cst(&arena_end) &&
        glue_make_usable((void *)usable, step))
        return true;
    atomic_store_relaxed(&arena_usable, usable);
    return false;
}

void *window_arena_allocate(size_t n_bytes)
{
    n_bytes = round_up(n_bytes, 64);
    if (n_bytes <= sizeof(first_arena) - first_arena_used) {
        first_arena_used += n_bytes;
        return first_arena + first_arena_used - n_bytes;
    }
    while (arena_next + n_bytes > arena_usable) {
        if (!extend_arena())
            return NULL;
    }
    void *at = (void *)arena_next;
    arena_next += n_bytes;
    return at;
}

static bool make_page_range_usable(const void *at, size_t n_bytes)
{
    uintptr_t begin = (uintptr_t)at & ~(uintptr_t)4095;
    uintptr_t end = round_up((uintptr_t)at + n_bytes, 4096);
    return glue_make_usable((void *)begin, end - begin);
}

/* The lowest address of the entries of spans for so many units. */
static struct span *lowest_span(size_t first_unit, size_t n_units)
{
    return window_span(first_unit + n_units - 1);
}

/* Slabs and spans. Of the first chunk they lie side by side. */
static bool make_both_usable(uint32_t first, uint32_t n)
{
    size_t n_units = (size_t)n * UNITS_PER_SUPERSLAB;
    size_t slabs_bytes = n * sizeof(struct superslab), spans_bytes = n_units * sizeof(struct span);
    const struct span *spans = lowest_span((size_t)first * UNITS_PER_SUPERSLAB, n_units);
    if (first == 0)
        return make_page_range_usable(spans, spans_bytes + slabs_bytes);
    return make_page_range_usable(&window.slabs[first], slabs_bytes) &&
           make_page_range_usable(spans, spans_bytes);
}

static bool make_chunk_usable(uint32_t chunk)
{
    uint32_t first = chunk * CHUNK_SLABS;
    uint32_t n = window.n_slabs - first < CHUNK_SLABS ? window.n_slabs - first : CHUNK_SLABS;
    size_t first_unit = (size_t)first * UNITS_PER_SUPERSLAB;
    size_t n_units = (size_t)n * UNITS_PER_SUPERSLAB;
    const uint8_t *units = &window.unit_class[(uintptr_t)window_address(first) >> UNIT_SHIFT];
    return make_page_range_usable(units, n_units) && make_both_usable(first, n) &&
           make_page_range_usable(&window.bitmaps[first_unit],
                                  n_units * sizeof(struct unit_bitmap));
}

/* Metadata has come in up to these addresses, of spans down to it, of the part of the window that
 * is not for blocks that may grow; what there is about those is not much. */
static struct {
    uintptr_t units, slabs, spans;
} ready;

static void bring_in(uintptr_t *ready_end, const void *at, size_t n_bytes)
{
    uintptr_t begin = (uintptr_t)at & ~(uintptr_t)4095;
    uintptr_t end = round_up((uintptr_t)at + n_bytes, 4096);
    if (begin < *ready_end)
        begin = *ready_end;
    if (begin >= end)
        return;
    glue_populate((void *)begin, end - begin);
    *ready_end = end;
}

/* The first ones: of spans and slabs a page each, side by side. */
static void bring_in_first_pages(void)
{
    ready.slabs = (uintptr_t)window.slabs + 4096;
    ready.spans = (uintptr_t)window.slabs - 4096;
    glue_populate((void *)ready.spans, ready.slabs - ready.spans);
}

static void bring_in_spans(size_t first_unit, size_t n_units)
{
    uintptr_t begin = (uintptr_t)lowest_span(first_unit, n_units) & ~(uintptr_t)4095;
    if (begin >= ready.spans)
        return;
    glue_populate((void *)begin, ready.spans - begin);
    ready.spans = begin;
}

/* SuperSlabs have been taken: what is about to be written down about them. */
static void bring_in_metadata(uint32_t first, uint32_t n_slabs)
{
    size_t first_unit = (size_t)first * UNITS_PER_SUPERSLAB;
    size_t n_units = (size_t)n_slabs * UNITS_PER_SUPERSLAB;
    if (first >= window.n_apart)
        return;
    bring_in(&ready.units, &window.unit_class[(uintptr_t)window_address(first) >> UNIT_SHIFT],
             n_units);
    if (ready.slabs == 0)
        bring_in_first_pages();
    bring_in(&ready.slabs, window_slab(first), n_slabs * sizeof(struct superslab));
    bring_in_spans(first_unit, n_units);
}

static bool make_metadata_usable(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t chunk = first / CHUNK_SLABS; chunk <= (first + n_slabs - 1) / CHUNK_SLABS;
         chunk++) {
        if (bitmap_test(chunks_usable, chunk))
            continue;
        if (!make_chunk_usable(chunk))
            return false;
        bitmap_set(chunks_usable, chunk);
    }
    return true;
}

bool window_is_known(uint32_t index)
{
    return bitmap_test(chunks_usable, index / CHUNK_SLABS);
}

bool window_take_at(uint32_t first, uint32_t n_slabs)
{
    if (n_slabs > window.n_slabs || first > window.n_slabs - n_slabs)
        return false;
    if (bitmap_next(taken, first, first + n_slabs, true) != first + n_slabs)
        return false;
    if (!make_metadata_usable(first, n_slabs))
        return false;
    bring_in_metadata(first, n_slabs);
    for (uint32_t i = first; i < first + n_slabs; i++)
        bitmap_set(taken, i);
    uint32_t end = first + n_slabs;
    uint32_t *high = first < window.n_apart ? &window.high_low : &window.high_apart;
    if (end > *high)
        *high = end;
    if (first < window.n_apart && end > window.n_apart && end > window.high_apart)
        window.high_apart = end;
    return true;
}

uint32_t window_take(uint32_t n_slabs, uint32_t align, bool apart)
{
    uint32_t first = BITMAP_NONE;
    /* The upper half of the window is for blocks that may grow: as much room again lies behind
     * each. */
    if (apart) {
        first = bitmap_find_run(taken, window.n_apart, window.n_slabs,
                                n_slabs > window.n_slabs / 8 ? n_slabs : 2 * n_slabs, align, false);
    }
    if (first == BITMAP_NONE)
        first = bitmap_find_run(taken, 0, window.n_slabs, n_slabs, align, false);
    if (first == BITMAP_NONE || !window_take_at(first, n_slabs))
        return BITMAP_NONE;
    return first;
}

void window_drop(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first; i < first + n_slabs; i++) {
        check_or_trap(bitmap_test(taken, i));
        bitmap_clear(taken, i);
    }
}

/* ---- a limit that comes later ---- */

/* Gives address space back, in whole pages. */
static void give_up(const void *from, const void *to)
{
    uintptr_t begin = round_up((uintptr_t)from, 4096), end = (uintptr_t)to & ~(uintptr_t)4095;
    if (begin < end)
        glue_unreserve((void *)begin, end - begin);
}

/* SuperSlabs that nobody will take any more, and what was set aside for their metadata. */
static void give_up_slabs(uint32_t first, uint32_t end)
{
    if (first >= end)
        return;
    for (uint32_t i = first; i < end; i++)
        bitmap_set(taken, i);
    glue_unreserve(window_address(first), superslab_bytes(end - first));
    /* Metadata is usable by chunks: from the first that was never begun. */
    uint32_t chunk = (first + CHUNK_SLABS - 1) / CHUNK_SLABS;
    while (chunk < end / CHUNK_SLABS && bitmap_test(chunks_usable, chunk))
        chunk++;
    uint32_t from = chunk * CHUNK_SLABS, to = end / CHUNK_SLABS * CHUNK_SLABS;
    if (from < to) {
        give_up(&window.slabs[from], &window.slabs[to]);
        give_up(window_span((size_t)to * UNITS_PER_SUPERSLAB - 1),
                window_span((size_t)from * UNITS_PER_SUPERSLAB) + 1);
        give_up(&window.bitmaps[(size_t)from * UNITS_PER_SUPERSLAB],
                &window.bitmaps[(size_t)to * UNITS_PER_SUPERSLAB]);
    }
}

/* The flat map, but for the window's part of it. */
static void give_up_flat_map(void)
{
    uint8_t *map = window.unit_class;
    uintptr_t first = window.base >> UNIT_SHIFT;
    uintptr_t end = first + (uintptr_t)window.n_slabs * UNITS_PER_SUPERSLAB;
    window_disable_fast_path();
    give_up(map, (void *)((uintptr_t)(map + first) & ~(uintptr_t)4095));
    give_up((void *)round_up((uintptr_t)(map + end), 4096), map + FLAT_MAP_BYTES);
}

bool window_has_given_up(const void *pointer)
{
    uint32_t index = window_index(pointer);
    /* Relaxed: only grows, and what is asked about has been mapped since. */
    return index < window.n_apart ? index >= atomic_load_relaxed(&end_low)
                                  : index >= atomic_load_relaxed(&end_apart);
}

/* Once each: what was given up may be somebody else's by now. */
static void end_part(uint32_t *end, uint32_t new_end)
{
    uint32_t old_end = *end;
    if (new_end >= old_end)
        return;
    atomic_store_relaxed(end, new_end);
    give_up_slabs(new_end, old_end);
}

/* To what is usable and a little more. */
static void shrink_arena(void)
{
    uintptr_t old_end = arena_end, end;
    do {
        end = atomic_load_relaxed(&arena_usable) + ARENA_BYTES_SMALL;
        if (end >= old_end)
            end = old_end;
        atomic_swap_seq_cst(&arena_end, end); /* see extend_arena() */
    } while (atomic_load_seq_cst(&arena_usable) > end);
    give_up((void *)end, (void *)old_end);
}

void window_shrink(uint32_t n_more)
{
    end_part(&end_low, window.high_low + n_more);
    end_part(&end_apart, window.high_apart);
    shrink_arena();
    /* Another thread may be looking a pointer up at this moment: then the map stays. */
    if (window_fast.shift == UNIT_SHIFT && glue_is_single_threaded())
        give_up_flat_map();
}

void window_heed_limit(void)
{
    static bool heeded;
    size_t limit = heeded ? SIZE_MAX : glue_address_space_limit();
    if (limit == SIZE_MAX)
        return;
    heeded = true;
    uint32_t n_within = within_limit(limit, SIXTEENTHS_LATER);
    if (n_within < window.n_slabs)
        window_shrink(n_within);
}
