/*
 * mlockall(), as the C library's. What the library has reserved counts as if all of it were to be
 * locked, which is more than any limit (RLIMIT_MEMLOCK) but none: so where the kernel says that it
 * is too much, it is given up but for what the limit lets be used at all.
 *
 * (Where memory is locked as it is mapped before the first request, no reservation succeeds:
 * lastresort.h.)
 */
#include <errno.h>
#include <sys/mman.h>

#include "libclient/glue.h"
#include "libclient/heap.h"
#include "libclient/source.h"
#include "libclient/window.h"

/* Of the limit, for SuperSlabs that are still to come. */
#define SHARE 4u

int mlockall(int flags) __attribute__((visibility("default")));

static int lock_in_less(int flags, size_t n_bytes)
{
    size_t n = n_bytes >> SUPERSLAB_SHIFT;
    source_shrink_window(n < WINDOW_MAX_SLABS ? (uint32_t)n : WINDOW_MAX_SLABS);
    return glue_lock_all(flags);
}

int mlockall(int flags)
{
    size_t limit = glue_lockable_limit();
    int result = glue_lock_all(flags);
    if (result == 0 || errno != ENOMEM || !(flags & MCL_CURRENT) || limit == SIZE_MAX ||
        !heap_is_set_up())
        return result;
    result = lock_in_less(flags, limit / SHARE);
    return result == 0 || errno != ENOMEM ? result : lock_in_less(flags, 0);
}
