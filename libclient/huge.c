/* See huge.h. The first SuperSlab's entry holds the length; its units alone are marked in the unit
 * map. */
#include "libclient/huge.h"

#include <string.h>

#include "common/atomic.h"
#include "libclient/holes.h"
#include "libclient/misuse.h"
#include "libclient/source.h"
#include "libclient/sparse.h"
#include "libclient/sparsepages.h"
#include "libclient/window.h"

/* Of what was asked for, this share may be held in addition. */
#define SPARE_SHARE 4

static uint64_t live_bytes;
static int64_t spare_pages;

static uint32_t slabs_for(size_t n_bytes)
{
    return (uint32_t)((n_bytes + SUPERSLAB_BYTES - 1) >> SUPERSLAB_SHIFT);
}

static struct superslab *live_slab(const void *block)
{
    struct superslab *slab = window_slab(window_index(block));
    if ((uintptr_t)block % SUPERSLAB_BYTES != 0)
        misuse_abort(MISUSE_INTERIOR, block);
    if (window_kind(slab) != SUPERSLAB_HUGE)
        misuse_abort(MISUSE_DOUBLE_FREE, block);
    return slab;
}

/* Relaxed: a figure that steers. */
static void count_spare(struct superslab *slab, int32_t n_pages)
{
    slab->huge_spare_pages += n_pages;
    atomic_add_relaxed(&spare_pages, n_pages);
}

static void begin_spare(struct superslab *slab, size_t n_bytes)
{
    size_t n_unused = superslab_bytes(slab->huge_slabs) - n_bytes;
    slab->huge_spare_pages = 0;
    count_spare(slab,
                (int32_t)(n_unused / PAGE_BYTES) - (int32_t)(n_bytes / PAGE_BYTES / SPARE_SHARE));
}

static void end_spare(struct superslab *slab)
{
    count_spare(slab, -slab->huge_spare_pages);
}

static void *set_up(uint32_t first, uint32_t n_slabs, size_t n_bytes)
{
    void *block = window_address(first);
    struct superslab *slab = window_slab(first);
    window_set_kind(slab, SUPERSLAB_HUGE);
    slab->huge_slabs = n_slabs;
    slab->zeroed_units = 0;
    for (uint32_t i = first + 1; i < first + n_slabs; i++) {
        window_set_kind(window_slab(i), SUPERSLAB_HUGE_TAIL);
        window_slab(i)->zeroed_units = 0;
    }
    begin_spare(slab, n_bytes);
    window_set_class(block, UNITS_PER_SUPERSLAB, CLASS_HUGE);
    return block;
}

static void count(uint32_t n_new, uint32_t n_old)
{
    /* A figure. Unsigned arithmetic makes it right in either direction. */
    atomic_add_relaxed(&live_bytes, ((uint64_t)n_new - n_old) << SUPERSLAB_SHIFT);
}

void *huge_allocate(size_t n_bytes, size_t alignment, bool grows, bool *zero)
{
    uint32_t first, n_slabs = slabs_for(n_bytes);
    if (n_bytes > superslab_bytes(window.n_slabs) || alignment > superslab_bytes(window.n_slabs))
        return NULL;
    /* The window's base is aligned to a SuperSlab only: above that, room to choose a place in the
     * middle. */
    uint32_t align = 1;
    if (alignment > SUPERSLAB_BYTES) {
        align = (uint32_t)(alignment >> SUPERSLAB_SHIFT);
        n_slabs += align - 1;
    }
    if (!source_acquire(grows ? SOURCE_FOR_GROWTH : SOURCE_FOR_HUGE, n_slabs, 1, &first, zero))
        return NULL;
    if (align > 1) {
        uintptr_t at = (uintptr_t)window_address(first);
        uint32_t skip =
            (uint32_t)(((at + alignment - 1) / alignment * alignment - at) >> SUPERSLAB_SHIFT);
        uint32_t n_kept = slabs_for(n_bytes), n_behind = n_slabs - skip - n_kept;
        if (skip > 0)
            source_release(first, skip);
        if (n_behind > 0)
            source_release(first + skip + n_kept, n_behind);
        first += skip;
        n_slabs = n_kept;
    }
    count(n_slabs, 0);
    if (*zero)
        holes_count_new(superslab_bytes(n_slabs));
    return set_up(first, n_slabs, n_bytes);
}

void *huge_allocate_zeroed(size_t n_bytes, bool *is_new)
{
    *is_new = false;
    uint32_t first, n_slabs = slabs_for(n_bytes);
    if (n_bytes > superslab_bytes(window.n_slabs))
        return NULL;
    enum source_want want = sparse_is_expected(n_slabs) ? SOURCE_FOR_SPARSE : SOURCE_FOR_HUGE;
    if (!source_acquire(want, n_slabs, 1, &first, is_new))
        return NULL;
    count(n_slabs, 0);
    if (!*is_new) {
        sparse_look_at(first, n_slabs);
        memset(window_address(first), 0, n_bytes);
    }
    void *block = set_up(first, n_slabs, n_bytes);
    if (window_slab(first)->is_sparse) {
        sparse_note_sparse(first, n_slabs);
        return block;
    }
    if (*is_new)
        holes_count_new(superslab_bytes(n_slabs));
    sparse_note_cleared(first, n_slabs, n_bytes);
    return block;
}

/* Of a sparse block, or of its end. */
static bool clear_sparse(uint32_t first, uint32_t n_slabs, uint32_t n_of_block)
{
    size_t n_resident;
    bool is_all = n_slabs == n_of_block;
    bool ok = sparsepages_clear(window_address(first), superslab_bytes(n_slabs),
                                is_all && sparse_must_count(n_slabs), &n_resident);
    if (!ok)
        sparse_note_failure(n_of_block);
    else if (is_all && n_resident != SPARSEPAGES_UNKNOWN)
        sparse_note_freed(n_slabs, n_resident);
    return ok;
}

/* The last SuperSlabs of a block, or all. */
static void release(uint32_t first, uint32_t n_slabs, uint32_t n_of_block)
{
    if (window_slab(first)->is_sparse && clear_sparse(first, n_slabs, n_of_block))
        source_release_sparse(first, n_slabs);
    else
        source_release(first, n_slabs);
}

void huge_free(void *block)
{
    struct superslab *slab = live_slab(block);
    uint32_t n_slabs = slab->huge_slabs;
    window_set_kind(slab, SUPERSLAB_NONE);
    end_spare(slab);
    window_set_class(block, UNITS_PER_SUPERSLAB, CLASS_NONE);
    count(0, n_slabs);
    release(window_index(block), n_slabs, n_slabs);
}

size_t huge_usable(const void *block)
{
    return superslab_bytes(live_slab(block)->huge_slabs);
}

void *huge_resize(void *block, size_t n_bytes)
{
    struct superslab *slab = live_slab(block);
    uint32_t first = window_index(block), n_old = slab->huge_slabs, n_new = slabs_for(n_bytes);

    if (n_bytes > superslab_bytes(window.n_slabs))
        return NULL;
    if (n_new == n_old)
        return block;
    if (n_new < n_old) {
        end_spare(slab);
        slab->huge_slabs = n_new;
        begin_spare(slab, n_bytes);
        count(n_new, n_old);
        release(first + n_new, n_old - n_new, n_old);
        return block;
    }
    if (source_extend(first, n_old, n_new)) {
        end_spare(slab);
        count(n_new, n_old);
        return set_up(first, n_new, n_bytes);
    }
    uint32_t first_new;
    int32_t n_spare = slab->huge_spare_pages;
    /* Out of the unit map, and out of the figures, before its place can be anybody else's. */
    window_set_class(block, UNITS_PER_SUPERSLAB, CLASS_NONE);
    end_spare(slab);
    if (!source_move(first, n_old, n_new, &first_new)) {
        count_spare(slab, n_spare);
        window_set_class(block, UNITS_PER_SUPERSLAB, CLASS_HUGE);
        return NULL;
    }
    count(n_new, n_old);
    return set_up(first_new, n_new, n_bytes);
}

uint64_t huge_live_bytes(void)
{
    return atomic_load_relaxed(&live_bytes);
}

int64_t huge_spare_pages(void)
{
    return atomic_load_relaxed(&spare_pages);
}

void huge_note_given_back(void *block, size_t n_bytes)
{
    count_spare(live_slab(block), -(int32_t)(n_bytes / PAGE_BYTES));
}
