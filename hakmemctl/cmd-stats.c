/* hakmemctl stats: what the daemon holds, for whom, and what it has done since it started. */
#include <inttypes.h>
#include <stdio.h>

#include "common/ledger.h"
#include "hakmemctl/ask.h"
#include "hakmemctl/command.h"
#include "hakmemctl/output.h"

static const char *pressure_name(uint32_t level)
{
    switch (level) {
    case LEDGER_PRESSURE_NONE:
        return "none";
    case LEDGER_PRESSURE_SOME:
        return "some";
    case LEDGER_PRESSURE_CRITICAL:
        return "critical";
    default:
        return "unknown";
    }
}

static void print_bytes(const char *label, uint64_t n_bytes, const char *note)
{
    char size[OUTPUT_CELL_BYTES];
    printf("  %-22s %9s%s%s\n", label, output_size(n_bytes, size), note[0] ? "  " : "", note);
}

static void print_count(const char *label, uint64_t n, const char *note)
{
    printf("  %-22s %9" PRIu64 "%s%s\n", label, n, note[0] ? "  " : "", note);
}

static void print_memory(const Hakmem__StatsReply *stats)
{
    char note[128], share[OUTPUT_CELL_BYTES], target[OUTPUT_CELL_BYTES];

    puts("memory now");
    snprintf(note, sizeof(note), "%s in 2 MiB pages, target %s",
             output_share(stats->stock_huge_bytes, stats->stock_bytes, share),
             output_size(stats->stock_target_bytes, target));
    print_bytes("stock", stats->stock_bytes, note);
    snprintf(note, sizeof(note), "to %" PRIu64 " client%s", stats->clients,
             stats->clients == 1 ? "" : "s");
    print_bytes("leased", stats->leased_bytes, note);
    print_bytes("  active", stats->active_bytes, "");
    print_bytes("  idle", stats->idle_bytes, "empty but warm");
    print_bytes("  reclaimed", stats->reclaimed_bytes, "pages taken back");
    print_bytes("  pinned", stats->pinned_bytes, "under a fork's copies");
    print_bytes("scrubbing", stats->scrubbing_bytes, "");
    print_bytes("orphans", stats->orphan_bytes, "client gone, still held by something");
    if (stats->held_bytes > 0)
        print_bytes("from before a restart", stats->held_bytes, "as clients report");
    if (stats->detached_clients > 0)
        print_count("not back since then", stats->detached_clients, "of the clients");
}

static void print_totals(const Hakmem__StatsReply *stats)
{
    char note[128], duration[OUTPUT_CELL_BYTES];

    printf("\nsince the start, %s ago\n", output_duration(stats->uptime_seconds, duration));
    print_bytes("created", stats->created_bytes_total, "");
    print_bytes("reclaimed", stats->reclaimed_bytes_total, "from living clients");
    print_bytes("returned", stats->returned_bytes_total, "");
    print_bytes("scrubbed", stats->scrubbed_bytes_total, "");
    print_bytes("reused", stats->reused_bytes_total, "by the same user");
    print_bytes("discarded", stats->discarded_bytes_total, "");
    print_count("connections", stats->connections_total, "");
    print_count("leases", stats->leases_total, "");
    snprintf(note, sizeof(note), "quota %" PRIu64 ", memory %" PRIu64 ", busy %" PRIu64,
             stats->denied_quota_total, stats->denied_memory_total, stats->denied_busy_total);
    print_count("denied", stats->denied_total, note);
    snprintf(note, sizeof(note), "now %s", pressure_name(stats->pressure_level));
    print_count("pressure events", stats->pressure_events_total, note);
    print_count("pages collapsed", stats->collapse_total, "");
    print_count("prewarm errors", stats->prewarm_errors_total, "");
    print_count("protocol errors", stats->protocol_errors_total, "");
    print_count("accept errors", stats->accept_errors_total, "");
    if (stats->stored_descriptors > 0 || stats->reattached_total > 0) {
        snprintf(note, sizeof(note), "%" PRIu64 " clients came back, %" PRIu64 " errors",
                 stats->reattached_total, stats->store_errors_total);
        print_count("stored descriptors", stats->stored_descriptors, note);
    }
    print_count("throttled", stats->throttled_total, "requests that waited for a quota's rate");
    print_count("dropped", stats->dropped_peers_total, "clients that did not read their answers");
    snprintf(note, sizeof(note),
             "over 1 ms, %" PRIu64 " by its own doing; the longest %" PRIu64 " us, own %" PRIu64,
             stats->loop_late_own_total, stats->loop_longest_us, stats->loop_longest_own_us);
    print_count("late turns", stats->loop_late_total, note);
}

int cmd_stats(const struct invocation *invocation)
{
    int code;
    struct session *session = ask_open(invocation, &code);
    if (!session)
        return code;
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    Hakmem__Reply *reply;
    code = ask(invocation, session, &request, HAKMEM__REPLY__BODY_STATS, &reply);
    if (code == CTL_OK && invocation->json) {
        code = output_json(output_message_json(&reply->stats->base)) ? CTL_OK : CTL_FAILED;
    } else if (code == CTL_OK) {
        print_memory(reply->stats);
        print_totals(reply->stats);
        code = output_flush() ? CTL_OK : CTL_FAILED;
    }
    session_close(session);
    return code;
}
