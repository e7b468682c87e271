/* See sparsepages.h. */
#include "libclient/sparsepages.h"

#include <string.h>

#include "common/atomic.h"
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

/* What is resident is cleared and stays, where that is a few pages; the rest is dropped. */
static bool keep(char *at, size_t n_bytes, size_t *n_resident)
{
    unsigned char resident[PART_PAGES];
    bool ok = true;
    *n_resident = 0;
    for (size_t done = 0; ok && done < n_bytes; done += PART_BYTES) {
        size_t n_here = n_bytes - done < PART_BYTES ? n_bytes - done : PART_BYTES;
        size_t n = ask(at + done, n_here / PAGE_BYTES, resident);
        *n_resident += n;
        ok = n <= KEEP_PAGES ? clear_part(at + done, resident, n_here / PAGE_BYTES)
                             : drop(at + done, n_here);
    }
    return ok;
}

/* ---- which way is cheaper ---- */

enum way { WAY_KEEP, WAY_DROP, N_WAYS };

/* The least that a way took of so many trials, in ns for each SuperSlab. Relaxed: two threads that
 * try at the same time may lose a trial. */
#define N_TRIALS 4u
static uint32_t least_ns[N_WAYS] = {UINT32_MAX, UINT32_MAX};
static uint32_t n_trials;

static void note_trial(enum way way, uint64_t ns, size_t n_bytes)
{
    uint64_t each_ns = ns / (n_bytes / SUPERSLAB_BYTES);
    if (each_ns < atomic_load_relaxed(&least_ns[way]))
        atomic_store_relaxed(&least_ns[way], (uint32_t)each_ns);
    atomic_add_relaxed(&n_trials, 1);
}

static bool try_keeping(char *at, size_t n_bytes, size_t *n_resident)
{
    uint64_t begin_ns = glue_now_ns();
    bool ok = keep(at, n_bytes, n_resident);
    if (ok)
        note_trial(WAY_KEEP, glue_now_ns() - begin_ns, n_bytes);
    return ok;
}

/* With the faults for those pages that keeping would have kept. */
static bool try_dropping(char *at, size_t n_bytes, size_t *n_resident)
{
    *n_resident = sparsepages_count(at, n_bytes);
    uint64_t begin_ns = glue_now_ns();
    if (!glue_purge(at, n_bytes))
        return false;
    uint64_t dropped_ns = glue_now_ns();
    *(volatile char *)at = 0; /* the first page is one that the next block's owner will touch */
    uint64_t fault_ns = glue_now_ns() - dropped_ns;
    size_t n_kept = *n_resident <= KEEP_PAGES ? *n_resident : 0;
    note_trial(WAY_DROP, dropped_ns - begin_ns + n_kept * fault_ns, n_bytes);
    return true;
}

bool sparsepages_clear(void *at, size_t n_bytes, bool must_count, size_t *n_resident)
{
    uint32_t n = atomic_load_relaxed(&n_trials);
    if (n < N_TRIALS)
        return n % 2 == WAY_KEEP ? try_keeping(at, n_bytes, n_resident)
                                 : try_dropping(at, n_bytes, n_resident);
    if (atomic_load_relaxed(&least_ns[WAY_KEEP]) <= atomic_load_relaxed(&least_ns[WAY_DROP]))
        return keep(at, n_bytes, n_resident);
    *n_resident = must_count ? sparsepages_count(at, n_bytes) : SPARSEPAGES_UNKNOWN;
    return glue_purge(at, n_bytes);
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
