/* See report.h. malloc_info() writes to its stream through fileno() and fflush(), found by name: no
 * stdio of our own. */
#include "libclient/report.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

#include "hakmem.h"
#include "libclient/firstlarge.h"
#include "libclient/heap.h"
#include "libclient/stats.h"
#include "libclient/text.h"

#define EXPORT __attribute__((visibility("default")))

/* What the process has of anonymous memory for blocks: SuperSlabs, and what lies apart. */
static size_t private_bytes(const struct hak_stats *stats)
{
    return stats->private_bytes + firstlarge_held_bytes();
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct hak_stats stats;
    if (!heap_is_ready())
        return (struct mallinfo2){0};
    stats_gather(&stats);
    size_t total = stats.leased_bytes + private_bytes(&stats);
    size_t used = stats.small_live_bytes + stats.large_bytes + stats.huge_bytes;
    return (struct mallinfo2){
        .arena = total - stats.huge_bytes,
        .hblkhd = stats.huge_bytes,
        .fsmblks = stats.small_cached_bytes,
        .uordblks = used,
        .fordblks = total > used ? total - used : 0,
        .keepcost = stats.free_superslab_bytes,
    };
}

static int clip(size_t value)
{
    return value > INT_MAX ? INT_MAX : (int)value;
}

EXPORT struct mallinfo mallinfo(void)
{
    struct mallinfo2 wide = mallinfo2();
    return (struct mallinfo){
        .arena = clip(wide.arena),
        .hblkhd = clip(wide.hblkhd),
        .fsmblks = clip(wide.fsmblks),
        .uordblks = clip(wide.uordblks),
        .fordblks = clip(wide.fordblks),
        .keepcost = clip(wide.keepcost),
    };
}

static void add_line(struct text *text, const char *before, uint64_t value, const char *after)
{
    text_add(text, before);
    text_add_number(text, value);
    text_add(text, after);
}

EXPORT void malloc_stats(void)
{
    char buffer[1024];
    struct text text = {.bytes = buffer, .capacity = sizeof(buffer)};
    struct hak_stats stats;
    if (!heap_is_ready())
        return;
    stats_gather(&stats);
    add_line(&text, "hakmem: leased ", stats.leased_bytes, " bytes");
    add_line(&text, ", private ", private_bytes(&stats), " bytes");
    add_line(&text, ", free SuperSlabs ", stats.free_superslab_bytes, " bytes\n");
    add_line(&text, "hakmem: live: small ", stats.small_live_bytes, "");
    add_line(&text, " (cached ", stats.small_cached_bytes, "");
    add_line(&text, ", spans ", stats.small_span_bytes, ")");
    add_line(&text, ", large ", stats.large_bytes, "");
    add_line(&text, ", huge ", stats.huge_bytes, " bytes\n");
    text_write(&text, STDERR_FILENO);
}

/*
 * The stream is the program's, and so is its stdio: this is all that the library knows of it. Not a
 * weak reference: a static program would have the function only if it calls it itself.
 */
extern int fputs(const char *string, void *stream);

static int write_to_stream(const struct text *text, void *stream)
{
    return fputs(text->bytes, stream) >= 0 ? 0 : -1;
}

EXPORT int malloc_info(int options, void *stream)
{
    static const size_t line_bytes = 192;
    char buffer[512];
    struct hak_stats stats;
    if (options != 0 || !heap_is_ready()) {
        errno = EINVAL;
        return -1;
    }
    stats_gather(&stats);
    struct text text = {.bytes = buffer, .capacity = sizeof(buffer) - 1};
    text_add(&text, "<malloc version=\"hakmem-1\">\n");
    add_line(&text, "<system leased=\"", stats.leased_bytes, "\"");
    add_line(&text, " private=\"", private_bytes(&stats), "\"");
    add_line(&text, " free=\"", stats.free_superslab_bytes, "\"/>\n");
    add_line(&text, "<large bytes=\"", stats.large_bytes, "\"/>\n");
    add_line(&text, "<huge bytes=\"", stats.huge_bytes, "\"/>\n");
    buffer[text.n_used] = '\0';
    if (write_to_stream(&text, stream) < 0)
        return -1;
    for (size_t i = 0; i < stats.n_classes; i++) {
        struct hak_class_stats class;
        hak_stats_class(i, &class);
        if (class.span_bytes == 0)
            continue;
        text = (struct text){.bytes = buffer, .capacity = line_bytes};
        add_line(&text, "<class size=\"", class.block_bytes, "\"");
        add_line(&text, " spans=\"", class.span_bytes, "\"");
        add_line(&text, " live=\"", class.live_blocks, "\"");
        add_line(&text, " cached=\"", class.cached_blocks, "\"");
        add_line(&text, " free=\"", class.free_blocks, "\"/>\n");
        buffer[text.n_used] = '\0';
        if (write_to_stream(&text, stream) < 0)
            return -1;
    }
    text = (struct text){.bytes = buffer, .capacity = line_bytes};
    text_add(&text, "</malloc>\n");
    buffer[text.n_used] = '\0';
    return write_to_stream(&text, stream);
}
