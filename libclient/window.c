/* See window.h. */
#include "libclient/window.h"

#include "common/check.h"
#include "libclient/glue.h"

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
const uint8_t *window_fast_map = empty_map;
static unsigned fast_shift = 63;

static uint64_t taken[BITMAP_WORDS(WINDOW_MAX_SLABS)];
static uint64_t chunks_usable[BITMAP_WORDS(N_CHUNKS)];

/* Bump allocation in [arena_next, arena_end), usable up to arena_usable. */
static uintptr_t arena_next, arena_usable, arena_end;

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
    size_t carvings_bytes = round_up((size_t)n_slabs * sizeof(struct carving), 65536);
    size_t window_bytes = (size_t)n_slabs << SUPERSLAB_SHIFT;
    size_t total =
        map_bytes + slabs_bytes + carvings_bytes + arena_bytes + window_bytes + 2 * SUPERSLAB_BYTES;

    void *at = glue_reserve(total);
    if (!at)
        return false;
    uintptr_t map = (uintptr_t)at;
    uintptr_t slabs = round_up(map + map_bytes, 4096);
    uintptr_t carvings = slabs + slabs_bytes;
    uintptr_t arena = carvings + carvings_bytes;
    uintptr_t base = round_up(arena + arena_bytes, SUPERSLAB_BYTES);

    if (flat && !glue_make_readable((void *)map, map_bytes)) {
        glue_unreserve(at, total);
        return false;
    }
    window.base = base;
    window.slabs = (struct superslab *)slabs;
    window.carvings = (struct carving *)carvings;
    /* Not flat: biased, so that it is indexed alike. The window's part begins within its first
     * page. */
    window.unit_class = flat ? (uint8_t *)map : (uint8_t *)(map - (base >> UNIT_SHIFT));
    arena_next = arena_usable = arena;
    arena_end = arena + arena_bytes;
    window.n_slabs = n_slabs;
    window.n_apart = window.high_apart = n_slabs / 2;
    if (flat) {
        window_fast_map = window.unit_class;
        fast_shift = UNIT_SHIFT;
    }
    return true;
}

bool window_init(void)
{
    size_t limit = glue_address_space_limit();
    if (limit == SIZE_MAX && reserve(WINDOW_MAX_SLABS, true, ARENA_BYTES))
        return true;
    /* Under a limit: at most half of it, since the program maps memory of its own; then whatever
     * there is. */
    uint32_t n_slabs = WINDOW_MAX_SLABS / 2;
    while (n_slabs > WINDOW_MIN_SLABS && ((size_t)n_slabs << SUPERSLAB_SHIFT) > limit / 2)
        n_slabs /= 2;
    for (; n_slabs >= WINDOW_MIN_SLABS; n_slabs /= 2) {
        if (reserve(n_slabs, false, ARENA_BYTES_SMALL))
            return true;
    }
    return false;
}

unsigned window_fast_shift(void)
{
    return fast_shift;
}

void *window_arena_allocate(size_t n_bytes)
{
    n_bytes = round_up(n_bytes, 64);
    if (n_bytes > arena_end - arena_next)
        return NULL;
    while (arena_usable - arena_next < n_bytes) {
        size_t step = arena_end - arena_usable < ARENA_STEP_BYTES ? arena_end - arena_usable
                                                                  : ARENA_STEP_BYTES;
        if (!glue_make_usable((void *)arena_usable, step))
            return NULL;
        arena_usable += step;
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

static bool make_chunk_usable(uint32_t chunk)
{
    uint32_t first = chunk * CHUNK_SLABS;
    uint32_t n = window.n_slabs - first < CHUNK_SLABS ? window.n_slabs - first : CHUNK_SLABS;
    const uint8_t *units = &window.unit_class[(uintptr_t)window_address(first) >> UNIT_SHIFT];
    return make_page_range_usable(units, (size_t)n * UNITS_PER_SUPERSLAB) &&
           make_page_range_usable(&window.slabs[first], n * sizeof(struct superslab)) &&
           make_page_range_usable(&window.carvings[first], n * sizeof(struct carving));
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

bool window_take_at(uint32_t first, uint32_t n_slabs)
{
    if (n_slabs > window.n_slabs || first > window.n_slabs - n_slabs)
        return false;
    if (bitmap_next(taken, first, first + n_slabs, true) != first + n_slabs)
        return false;
    if (!make_metadata_usable(first, n_slabs))
        return false;
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
