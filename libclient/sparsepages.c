/* See sparsepages.h. */
#include "libclient/sparsepages.h"

#include <string.h>

#include "common/superslab.h"
#include "libclient/glue.h"
#include "libclient/holes.h"

/* The kernel is asked about so much at a time: a byte each page, on a stack that may be small. */
#define PART_BYTES (4 * SUPERSLAB_BYTES)
#define PART_PAGES (PART_BYTES / PAGE_BYTES)
/* Of a part so many stay: each costs a call more for what lies between them. */
#define KEEP_PAGES 12u
/* Less than 2 MiB: in such calls Linux 6.14 and later look for page tables to free, which takes as
 * long as clearing 2 MiB, and makes the next fault there dearer. */
#define PIECE_BYTES (SUPERSLAB_BYTES - UNIT_BYTES)

static bool drop(char *at, size_t n_bytes)
{
    for (size_t done = 0; done < n_bytes; done += PIECE_BYTES) {
        size_t n_left = n_bytes - done;
        if (!glue_purge(at + done, n_left < PIECE_BYTES ? n_left : PIECE_BYTES))
            return false;
    }
    return true;
}

static size_t run_length(const unsigned char *resident, size_t from, size_t n_pages)
{
    size_t end = from;
    while (end < n_pages && (resident[end] & 1) == (resident[from] & 1))
        end++;
    return end - from;
}

static bool clear_part(char *at, const unsigned char *resident, size_t n_pages)
{
    for (size_t page = 0; page < n_pages;) {
        size_t n = run_length(resident, page, n_pages);
        if (resident[page] & 1)
            memset(at + page * PAGE_BYTES, 0, n * PAGE_BYTES);
        else if (!drop(at + page * PAGE_BYTES, n * PAGE_BYTES))
            return false;
        page += n;
    }
    return true;
}

static size_t ask(const void *at, size_t n_pages, unsigned char *resident)
{
    size_t n = 0;
    if (!glue_find_resident(at, n_pages * PAGE_BYTES, resident))
        return n_pages;
    for (size_t i = 0; i < n_pages; i++)
        n += resident[i] & 1;
    return n;
}

bool sparsepages_clear(void *at, size_t n_bytes, size_t *n_resident)
{
    unsigned char resident[PART_PAGES];
    bool ok = true;
    *n_resident = 0;
    for (size_t done = 0; ok && done < n_bytes; done += PART_BYTES) {
        char *part = (char *)at + done;
        size_t n_here = n_bytes - done < PART_BYTES ? n_bytes - done : PART_BYTES;
        size_t n = ask(part, n_here / PAGE_BYTES, resident);
        *n_resident += n;
        ok = n <= KEEP_PAGES ? clear_part(part, resident, n_here / PAGE_BYTES) : drop(part, n_here);
    }
    return ok;
}

size_t sparsepages_count(const void *at, size_t n_bytes)
{
    unsigned char resident[PART_PAGES];
    size_t n_pages = 0;
    for (size_t done = 0; done < n_bytes; done += PART_BYTES) {
        size_t n_here = n_bytes - done < PART_BYTES ? n_bytes - done : PART_BYTES;
        n_pages += ask((const char *)at + done, n_here / PAGE_BYTES, resident);
    }
    return n_pages;
}
