/*
 * hakmem.h's functions, and the parts of the malloc family that report and tune: mallinfo,
 * malloc_info, malloc_trim, mallopt. The library's constructor and destructor are here, too.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/check.h"
#include "hakmem.h"
#include "libclient/cache.h"
#include "libclient/firstlarge.h"
#include "libclient/firstregion.h"
#include "libclient/guard.h"
#include "libclient/heap.h"
#include "libclient/purge.h"
#include "libclient/report.h"
#include "libclient/runs.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/span.h"
#include "libclient/stats.h"
#include "libclient/window.h"

#define EXPORT __attribute__((visibility("default")))

#define PREWARM_MAX_BYTES ((size_t)1 << 30)

EXPORT const char *hak_version(void)
{
    return HAKMEM_VERSION;
}

EXPORT enum hak_owner hak_owns(const void *pointer)
{
    if ((settings.check && guard_owns(pointer)) || firstlarge_owns(pointer))
        return HAK_OWNER_PRIVATE;
    if (!window_contains(pointer) || !window_is_known(window_index(pointer)))
        return HAK_OWNER_NONE;
    const struct superslab *slab = window_slab(window_index(pointer));
    /* A huge block's further SuperSlabs have no entry in the unit map. */
    if (window_class(pointer) == CLASS_NONE && window_kind(slab) != SUPERSLAB_HUGE_TAIL)
        return HAK_OWNER_NONE;
    return slab->backing == SUPERSLAB_PRIVATE ? HAK_OWNER_PRIVATE : HAK_OWNER_LEASED;
}

EXPORT int hak_ss_prewarm_init(size_t n_bytes)
{
    if (n_bytes == 0 || n_bytes > PREWARM_MAX_BYTES)
        return -EINVAL;
    if (!heap_is_ready())
        return -ENOMEM;
    /* The calling thread's cache is to be there, too; first, so that it takes none of the rest. */
    cache_prewarm();
    uint32_t n_slabs = (uint32_t)((n_bytes + SUPERSLAB_BYTES - 1) >> SUPERSLAB_SHIFT);
    if (!source_prewarm(n_slabs))
        return -ENOMEM;
    /* No small program, then: what is left of the first region, whose small pages would come in
     * call by call, is for those. */
    firstregion_leave();
    return 0;
}

EXPORT int hak_ss_prewarm_class(size_t size, size_t count)
{
    if (size == 0 || size > SMALL_MAX_BYTES || count == 0 || count > PREWARM_MAX_BYTES / size)
        return -EINVAL;
    if (!heap_is_ready())
        return -ENOMEM;
    return span_prewarm(cache_own_arena(), sizeclass_of(size), count) &&
                   cache_fill(sizeclass_of(size), count > 65535 ? 65535 : (unsigned)count)
               ? 0
               : -ENOMEM;
}

EXPORT int hak_stats(struct hak_stats *stats, size_t size)
{
    struct hak_stats all;
    if (!stats || size == 0 || !heap_is_ready())
        return -EINVAL;
    stats_gather(&all);
    memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
    return 0;
}

EXPORT int hak_stats_class(size_t index, struct hak_class_stats *stats)
{
    if (!stats || index >= N_SMALL || !heap_is_ready())
        return -EINVAL;
    stats_gather_class((unsigned)index + 1, stats);
    return 0;
}

EXPORT size_t hak_trim(size_t keep_bytes)
{
    if (!heap_is_ready())
        return 0;
    cache_flush_own();
    span_trim();
    size_t n_bytes = purge_all();
    return n_bytes + source_trim(keep_bytes);
}

EXPORT int malloc_trim(size_t keep_bytes)
{
    return hak_trim(keep_bytes) > 0;
}

/* M_MMAP_THRESHOLD and its like tune glibc's design, which this is not. 1 is success to the
 * callers. */
EXPORT int mallopt(int parameter, int value)
{
    (void)parameter;
    (void)value;
    return 1;
}

#ifdef HAKMEM_DEBUG
/* For tests, which look it up by name: do the heap's invariants hold at this moment? */
bool hak_debug_heap_is_valid(void);
EXPORT bool hak_debug_heap_is_valid(void)
{
    return !heap_is_set_up() || (span_bins_are_valid() && runs_are_valid());
}
#endif
