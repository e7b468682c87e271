/*
 * The library's begin and end: what happens once in a process, before and after main().
 *
 * malloc() works before and after these, too: heap.c initialises what it needs itself.
 */
#include "libclient/cache.h"
#include "libclient/firstblocks.h"
#include "libclient/fork.h"
#include "libclient/guard.h"
#include "libclient/heap.h"
#include "libclient/next.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/stats.h"

/*
 * Early: other libraries' constructors may fork or allocate much. The environment is there since
 * libc is initialised before the libraries that need it.
 */
__attribute__((constructor(101))) static void begin(void)
{
    settings_load();
    /* A program that allocates nothing pays for nothing: the heap is set up at the first request.
     */
    if (settings.check) {
        guard_init();
        cache_disable_fast_path();
    }
    if (!settings.watch)
        firstblocks_stop();
    if (settings.foreign_next)
        next_init();
    fork_init();
    if (settings.connect == SETTINGS_CONNECT_EAGER && heap_is_ready())
        source_prewarm(2);
}

/* What the calling thread's cache holds may have been misused: see span.h and firstblocks.h. */
static void check_own_blocks(void)
{
    cache_check_own();
    cache_flush_own();
}

__attribute__((destructor(101))) static void end(void)
{
    if (settings.check)
        guard_check_all();
    else if (heap_is_set_up())
        check_own_blocks();
    if (settings.stats && heap_is_ready())
        stats_write();
}
