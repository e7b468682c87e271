/* See stats.h. */
#include "libclient/stats.h"

#include <unistd.h>

#include "libclient/cache.h"
#include "libclient/firstblocks.h"
#include "libclient/growth.h"
#include "libclient/holes.h"
#include "libclient/huge.h"
#include "libclient/large.h"
#include "libclient/lastresort.h"
#include "libclient/leases.h"
#include "libclient/link.h"
#include "libclient/originals.h"
#include "libclient/publish.h"
#include "libclient/purge.h"
#include "libclient/source.h"
#include "libclient/span.h"
#include "libclient/sparse.h"
#include "libclient/text.h"

void stats_gather_class(unsigned class, struct hak_class_stats *stats)
{
    uint64_t n_spans, n_out, n_bytes, n_blocks, n_cached = cache_cached_blocks(class);
    span_stats(class, &n_spans, &n_out);
    span_sizes(class, &n_bytes, &n_blocks);
    if (n_cached > n_out)
        n_cached = n_out; /* read at different moments */
    stats->block_bytes = sizeclasses[class].block_bytes;
    stats->span_bytes = n_bytes + firstblocks_n_taken(class) * stats->block_bytes;
    stats->live_blocks = n_out - n_cached + firstblocks_n_live(class);
    stats->cached_blocks = n_cached;
    stats->free_blocks = n_blocks > n_out ? n_blocks - n_out : 0; /* likewise */
}

void stats_gather(struct hak_stats *stats)
{
    struct source_stats source;
    source_stats(&source);
    *stats = (struct hak_stats){
        .leased_bytes = source.leased_bytes,
        .leased_peak_bytes = source.leased_peak_bytes,
        .private_bytes = source.private_bytes,
        .private_peak_bytes = source.private_peak_bytes,
        .free_superslab_bytes = source.free_bytes,
        .large_bytes = large_live_bytes(),
        .huge_bytes = huge_live_bytes(),
        .leases = source.leases,
        .fallbacks = source.fallbacks,
        .refills = cache_n_refills(),
        .flushes = cache_n_flushes(),
        .syscalls = publish_n_syscalls(),
        .forks = publish_n_forks(),
        .n_classes = N_SMALL,
        .purged_bytes = purge_counters().purged_bytes,
    };
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        struct hak_class_stats figures;
        stats_gather_class(class, &figures);
        stats->small_live_bytes += figures.live_blocks * figures.block_bytes;
        stats->small_cached_bytes += figures.cached_blocks * figures.block_bytes;
        stats->small_span_bytes += figures.span_bytes;
    }
}

static void add_field(struct text *text, const char *name, uint64_t value)
{
    text_add(text, text->n_used > 1 ? ", \"" : "\"");
    text_add(text, name);
    text_add(text, "\": ");
    text_add_number(text, value);
}

void stats_write(void)
{
    char buffer[2048];
    struct text text = {.bytes = buffer, .capacity = sizeof(buffer)};
    struct hak_stats stats;
    const struct link_counters *link = link_counters();
    const struct originals_counters *originals = originals_counters();

    stats_gather(&stats);
    text_add(&text, "{");
    add_field(&text, "leased_bytes", stats.leased_peak_bytes);
    add_field(&text, "private_bytes", stats.private_peak_bytes);
    add_field(&text, "leases", stats.leases);
    add_field(&text, "fallbacks", stats.fallbacks);
    add_field(&text, "syscalls", stats.syscalls);
    add_field(&text, "leased_now_bytes", stats.leased_bytes);
    add_field(&text, "private_now_bytes", stats.private_bytes);
    add_field(&text, "refills", stats.refills);
    add_field(&text, "flushes", stats.flushes);
    add_field(&text, "forks", stats.forks);
    add_field(&text, "originals_bytes", originals->given_back_bytes);
    add_field(&text, "originals_failures", originals->failures);
    add_field(&text, "witnesses_lost", originals->witnesses_lost);
    add_field(&text, "purged_bytes", stats.purged_bytes);
    add_field(&text, "purged_at_growth_bytes", growth_purged_bytes());
    add_field(&text, "holes_bytes", holes_bytes());
    add_field(&text, "purge_failures", purge_counters().failures);
    add_field(&text, "sparse_blocks", sparse_counters().n_blocks);
    add_field(&text, "sparse_misjudged", sparse_counters().n_misjudged);
    add_field(&text, "lastresort_blocks", lastresort_n_blocks());
    add_field(&text, "connects", link->connects);
    add_field(&text, "losses", link->losses);
    add_field(&text, "timeouts", link->timeouts);
    add_field(&text, "refusals", link->refusals);
    add_field(&text, "unmappable", leases.unmappable);
    add_field(&text, "pid", (uint64_t)getpid());
    text_add(&text, "}\n");
    text_write(&text, STDERR_FILENO);
}
