/* See spanpages.h. */
#include "libclient/spanpages.h"

#include "libclient/bitmap.h"
#include "libclient/sizeclass.h"

uint8_t spanpages_age;

static size_t first_unit(const struct span *span)
{
    return window_span_unit(span);
}

static bool is_free(const struct span *span, size_t page)
{
    uint32_t first = sizeclass_block_index(span->class, page * PAGE_BYTES);
    uint32_t end = sizeclass_block_index(span->class, (page + 1) * PAGE_BYTES - 1) + 1;
    if (end > span->n_carved)
        end = span->n_carved;
    return bitmap_next(span->free_blocks, first, end, false) >= end;
}

static bool has_gone(const struct span *span, size_t page)
{
    size_t unit = first_unit(span) + page / PAGES_PER_UNIT;
    const uint16_t *holes = holes_if_any();
    return holes && (holes[unit] >> page % PAGES_PER_UNIT) & 1;
}

unsigned spanpages_find_free(const struct span *span, uint64_t pages[SPANPAGES_MAX / 64])
{
    unsigned n_pages = span->n_units * PAGES_PER_UNIT, n_free = 0;
    for (unsigned page = 0; page < n_pages; page += 64)
        pages[page / 64] = 0;
    for (unsigned page = 0; page < n_pages; page++) {
        if (((span->rest & SPANPAGES_HOLED) && has_gone(span, page)) || !is_free(span, page))
            continue;
        bitmap_set(pages, page);
        n_free++;
    }
    return n_free;
}

void spanpages_open_holes(struct span *span, uint32_t page, uint32_t end)
{
    while (page < end) {
        unsigned unit = page / PAGES_PER_UNIT, from = page % PAGES_PER_UNIT, n = end - page;
        if (n > PAGES_PER_UNIT - from)
            n = PAGES_PER_UNIT - from;
        holes_open(first_unit(span) + unit, (uint16_t)(((1u << n) - 1) << from));
        page += n;
    }
    span->rest |= SPANPAGES_HOLED;
}

static void close_hole(struct span *span, size_t page)
{
    size_t unit = first_unit(span) + page / PAGES_PER_UNIT;
    unsigned bit = 1u << page % PAGES_PER_UNIT;
    if (holes_of_unit[unit] & bit)
        holes_close(unit, (uint16_t)bit);
}

void spanpages_close_holes(struct span *span, void *const *blocks, unsigned n)
{
    const char *start = window_address(0);
    start += first_unit(span) * UNIT_BYTES;
    for (unsigned i = 0; i < n; i++) {
        size_t offset = (size_t)((const char *)blocks[i] - start);
        size_t last = (offset + sizeclasses[span->class].block_bytes - 1) / PAGE_BYTES;
        for (size_t page = offset / PAGE_BYTES; page <= last; page++)
            close_hole(span, page);
    }
    for (unsigned unit = 0; unit < span->n_units; unit++) {
        if (holes_of_unit[first_unit(span) + unit])
            return;
    }
    span->rest &= (uint16_t)~SPANPAGES_HOLED;
}

#ifdef HAKMEM_DEBUG
bool spanpages_are_valid(const struct span *span)
{
    bool is_holed = false;
    for (unsigned page = 0; page < span->n_units * PAGES_PER_UNIT; page++) {
        if (!has_gone(span, page))
            continue;
        is_holed = true;
        if (!is_free(span, page))
            return false;
    }
    return !is_holed || (span->rest & SPANPAGES_HOLED);
}
#endif
