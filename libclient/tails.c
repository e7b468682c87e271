/* See tails.h. */
#include "libclient/tails.h"

#include <stdbool.h>
#include <stdint.h>

#include "libclient/glue.h"
#include "libclient/holes.h"
#include "libclient/huge.h"
#include "libclient/lock.h"
#include "libclient/purge.h"
#include "libclient/window.h"

/* From so much in huge blocks on; and this share of a block's SuperSlabs. */
#define FROM_BYTES ((uint64_t)16 << 20)
#define SHARE      4u

/* Under purge_lock(): no fork converts it meanwhile. False: it cannot go. */
static bool give_back(uint32_t index, size_t n_used)
{
    struct superslab *slab = window_slab(index);
    char *at = window_address(index);
    /* Else the first touch would bring in the 2 MiB page, after this. (It is not split: purge.c
     * says why not while the heap grows.) */
    if (slab->backing == SUPERSLAB_PRIVATE)
        glue_populate(at, PAGE_BYTES);
    if (!purge_pages(at + n_used, SUPERSLAB_BYTES - n_used, slab))
        return false;
    if (slab->backing != SUPERSLAB_LEASED)
        return true;
    /* What is left of the 2 MiB page is small pages: they are mapped at once, and the next time
     * that it is taken those of the tail are not to come back. */
    slab->huge_page = false;
    slab->is_mapped_in = true;
    glue_populate(at, n_used);
    return true;
}

void tails_give_back(void *block, size_t n_bytes)
{
    uint32_t first = window_index(block), n_slabs = window_slab(first)->huge_slabs;
    size_t n_used = (n_bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    size_t n_all = superslab_bytes(n_slabs);
    if (huge_live_bytes() <= FROM_BYTES || huge_spare_pages() <= 0 ||
        n_all - n_used < n_all / SHARE || window_slab(first)->is_sparse)
        return;
    if (!lock_try_acquire(purge_lock()))
        return;
    if (give_back(first + n_slabs - 1, n_used - superslab_bytes(n_slabs - 1)))
        huge_note_given_back(block, n_all - n_used);
    lock_release(purge_lock());
}
