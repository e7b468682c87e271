/* See publish.h. Relaxed throughout: each figure stands alone, and the daemon trusts none of them.
 */
#include "libclient/publish.h"

#include "common/ledger.h"
#include "libclient/firstblocks.h"
#include "libclient/glue.h"
#include "libclient/huge.h"
#include "libclient/large.h"
#include "libclient/link.h"
#include "libclient/source.h"
#include "libclient/span.h"

static uint64_t n_forks;

void publish_class(unsigned class, uint64_t n_cached)
{
    struct ledger *ledger = link_ledger();
    if (!ledger)
        return;
    uint64_t n_spans, n_out, n_bytes, n_blocks;
    span_stats(class, &n_spans, &n_out);
    span_sizes(class, &n_bytes, &n_blocks);
    struct ledger_class *figures = &ledger->classes[class];
    atomic_store_relaxed(&figures->block_bytes, sizeclasses[class].block_bytes);
    atomic_store_relaxed(&figures->span_bytes,
                         n_bytes + firstblocks_n_taken(class) * sizeclasses[class].block_bytes);
    atomic_store_relaxed(&figures->out_blocks, n_out + firstblocks_n_live(class));
    atomic_store_relaxed(&figures->cached_blocks, n_cached);
}

void publish_counters(uint64_t n_refills, uint64_t n_flushes)
{
    struct ledger *ledger = link_ledger();
    if (!ledger)
        return;
    struct ledger_counters *counters = &ledger->counters;
    atomic_store_relaxed(&counters->private_bytes, source_private_bytes());
    atomic_store_relaxed(&counters->fallbacks, source_n_fallbacks());
    atomic_store_relaxed(&counters->large_bytes, large_live_bytes());
    atomic_store_relaxed(&counters->huge_bytes, huge_live_bytes());
    atomic_store_relaxed(&counters->refills, n_refills);
    atomic_store_relaxed(&counters->flushes, n_flushes);
    atomic_store_relaxed(&counters->syscalls, publish_n_syscalls());
    atomic_store_relaxed(&counters->forks, publish_n_forks());
}

void publish_count_fork(void)
{
    atomic_add_relaxed(&n_forks, 1);
}

uint64_t publish_n_forks(void)
{
    return atomic_load_relaxed(&n_forks);
}

uint64_t publish_n_syscalls(void)
{
    return glue_n_syscalls() + link_n_syscalls();
}
