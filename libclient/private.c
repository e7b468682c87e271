/* See private.h. */
#include "libclient/private.h"

#include "common/check.h"
#include "libclient/extents.h"
#include "libclient/freeslabs.h"
#include "libclient/glue.h"
#include "libclient/window.h"

/* Private memory comes in growing steps too: fewer system calls, nothing touched ahead. */
#define STEP_SLABS 16u

struct private_memory private_memory;

void private_count(uint32_t n_slabs)
{
    atomic_store_relaxed(&private_memory.bytes, private_memory.bytes + superslab_bytes(n_slabs));
    if (private_memory.bytes > private_memory.peak_bytes)
        private_memory.peak_bytes = private_memory.bytes;
}

/* Free address space of the window is an anonymous mapping already: it takes no new one, whatever
 * RLIMIT_AS says by now. */
static bool map_usable(enum private_place place, uint32_t first, uint32_t n_slabs)
{
    if (!glue_make_usable(window_address(first), superslab_bytes(n_slabs)))
        return false;
    if (place == PRIVATE_SMALL_PAGES || place == PRIVATE_SPARSE)
        glue_no_huge_pages(window_address(first), superslab_bytes(n_slabs));
    else
        glue_huge_pages(window_address(first), superslab_bytes(n_slabs));
    return true;
}

/* Seconds of the clock: a moment ago may be one ago. */
static bool is_rested(const struct superslab *slab, uint32_t now_s, uint32_t idle_s)
{
    return !slab->is_kept && (idle_s == 0 || now_s - slab->idle_since_s > idle_s);
}

/* What is warm becomes cold. False: the kernel refused. */
static bool purge_run(uint32_t begin, uint32_t end)
{
    if (!glue_purge(window_address(begin), superslab_bytes(end - begin)))
        return false;
    for (uint32_t i = begin; i < end; i++) {
        freeslabs_remove(i);
        window_slab(i)->zero = true;
        freeslabs_put_cold(i);
    }
    return true;
}

/* In runs: a system call for each. `used`: only what has been handed out and freed. */
static size_t purge(uint32_t idle_s, size_t keep_bytes, bool used)
{
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    uint32_t now = glue_now_s();
    size_t n_purged = 0;

    for (unsigned part = 0; part < 2; part++) {
        uint32_t i = begins[part];
        while ((i = bitmap_next(freeslabs.warm, i, ends[part], true)) < ends[part]) {
            uint32_t end = i;
            while (end < ends[part] && bitmap_test(freeslabs.warm, end) &&
                   window_slab(end)->backing == SUPERSLAB_PRIVATE &&
                   !(used && window_slab(end)->zero) && is_rested(window_slab(end), now, idle_s))
                end++;
            if (end == i) {
                i++;
                continue;
            }
            if (freeslabs.n_warm_private <= (int32_t)(keep_bytes >> SUPERSLAB_SHIFT))
                return n_purged;
            if (purge_run(i, end))
                n_purged += superslab_bytes(end - i);
            i = end;
        }
    }
    return n_purged;
}

static bool is_used(uint32_t index)
{
    const struct superslab *slab = window_slab(index);
    return bitmap_test(freeslabs.used, index) && slab->backing == SUPERSLAB_PRIVATE &&
           !slab->is_kept;
}

/* Of those from `index` on, which is one of them or none, how many in a row. */
static uint32_t count_used_row(uint32_t index, uint32_t end)
{
    uint32_t n = 0;
    while (index + n < end && is_used(index + n))
        n++;
    return n;
}

/* Keeps the lowest n_kept of those that are used and purges the others, for which `gone` gets a
 * bit. *n_used: all. How many went. */
static uint32_t purge_beyond(uint32_t n_kept, uint64_t *gone, uint32_t *n_used)
{
    const uint32_t begins[] = {0, window.n_apart}, ends[] = {window.high_low, window.high_apart};
    uint32_t n_purged = 0;
    *n_used = 0;
    for (unsigned part = 0; part < 2; part++) {
        uint32_t i = begins[part];
        while ((i = bitmap_next(freeslabs.used, i, ends[part], true)) < ends[part]) {
            uint32_t n = count_used_row(i, ends[part]);
            uint32_t n_stay = *n_used >= n_kept ? 0 : n_kept - *n_used;
            *n_used += n;
            if (n > n_stay && purge_run(i + n_stay, i + n)) {
                for (uint32_t k = i + n_stay; k < i + n; k++)
                    bitmap_set(gone, k);
                n_purged += n - n_stay;
            }
            i += n > 0 ? n : 1;
        }
    }
    return n_purged;
}

uint32_t private_count_used(void)
{
    uint32_t n_used;
    purge_beyond(UINT32_MAX, NULL, &n_used);
    return n_used;
}

uint32_t private_purge_beyond(uint32_t n_kept, uint64_t *gone)
{
    uint32_t n_used;
    return purge_beyond(n_kept, gone, &n_used);
}

size_t private_purge(uint32_t idle_s, size_t keep_bytes)
{
    return purge(idle_s, keep_bytes, false);
}

void private_make_room(uint32_t n_slabs)
{
    uint32_t n_warm = freeslabs.n_warm_private > 0 ? (uint32_t)freeslabs.n_warm_private : 0;
    if (n_warm > 0)
        purge(0, superslab_bytes(n_warm > n_slabs ? n_warm - n_slabs : 0), true);
}

bool private_map(enum private_place place, uint32_t n_slabs, uint32_t align, uint32_t *first)
{
    uint32_t step = n_slabs;
    if (place == PRIVATE_AMONG_OTHERS) {
        step = (uint32_t)(private_memory.bytes >> SUPERSLAB_SHIFT) / 4;
        step = step > STEP_SLABS ? STEP_SLABS : step < n_slabs ? n_slabs : step;
    }
    window_heed_limit();
    for (;;) {
        uint32_t at = window_take(step, align, place == PRIVATE_APART);
        if (at != BITMAP_NONE) {
            if (map_usable(place, at, step)) {
                private_count(step);
                for (uint32_t i = at; i < at + step; i++) {
                    extents_set_private(i);
                    window_slab(i)->is_sparse = place == PRIVATE_SPARSE;
                    if (i >= at + n_slabs)
                        freeslabs_put_warm(i);
                }
                *first = at;
                return true;
            }
            window_drop(at, step);
        }
        if (step == n_slabs)
            return false;
        step = n_slabs;
    }
}

void private_make_dense(uint32_t first, uint32_t n_slabs)
{
    for (uint32_t i = first, end = first + n_slabs; i < end;) {
        uint32_t begin = i;
        while (i < end && window_slab(i)->is_sparse)
            window_slab(i++)->is_sparse = false;
        if (i > begin)
            glue_huge_pages(window_address(begin), superslab_bytes(i - begin));
        else
            i++;
    }
}

bool private_extend(uint32_t at, uint32_t n_slabs)
{
    uint32_t n_free = freeslabs_count_private(at, n_slabs);
    uint32_t fresh = at + n_free, n_fresh = n_slabs - n_free;
    if (n_fresh > 0) {
        if (!window_take_at(fresh, n_fresh))
            return false;
        if (!map_usable(PRIVATE_APART, fresh, n_fresh)) {
            window_drop(fresh, n_fresh);
            return false;
        }
        private_count(n_fresh);
        for (uint32_t i = fresh; i < fresh + n_fresh; i++)
            extents_set_private(i);
    }
    freeslabs_take_private(at, n_free);
    private_make_dense(at, n_free);
    return true;
}
