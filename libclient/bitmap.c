/* See bitmap.h. */
#include "libclient/bitmap.h"

uint32_t bitmap_next(const uint64_t *words, uint32_t from, uint32_t end, bool value)
{
    uint64_t flip = value ? 0 : ~(uint64_t)0;
    while (from < end) {
        uint64_t word = (words[from / 64] ^ flip) >> (from % 64);
        if (word) {
            uint32_t found = from + (uint32_t)__builtin_ctzl(word);
            return found < end ? found : end;
        }
        from = (from / 64 + 1) * 64;
    }
    return end;
}

uint32_t bitmap_find_run(const uint64_t *words, uint32_t from, uint32_t end, uint32_t n,
                         uint32_t align, bool value)
{
    while (from < end) {
        uint32_t begin = bitmap_next(words, from, end, value);
        uint64_t aligned = ((uint64_t)begin + align - 1) / align * align;
        if (aligned + n > end)
            return BITMAP_NONE;
        uint32_t stop = bitmap_next(words, (uint32_t)aligned, (uint32_t)aligned + n, !value);
        if (stop == aligned + n)
            return (uint32_t)aligned;
        from = stop;
    }
    return BITMAP_NONE;
}

uint32_t bitmap_find_tight_run(const uint64_t *words, uint32_t from, uint32_t end, uint32_t n,
                               uint32_t align, bool value)
{
    uint32_t best = BITMAP_NONE, best_length = UINT32_MAX;
    for (unsigned looks = 0; looks < BITMAP_TIGHT_LOOKS && best_length > n; looks++) {
        uint32_t at = bitmap_find_run(words, from, end, n, align, value);
        if (at == BITMAP_NONE)
            break;
        /* Bits before it, up to an alignment, are not counted: the next such run is not there. */
        uint32_t stop = bitmap_next(words, at + n, end, !value);
        if (stop - at < best_length) {
            best = at;
            best_length = stop - at;
        }
        from = stop;
    }
    return best;
}
