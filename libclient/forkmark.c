/* See forkmark.h. */
#include "libclient/forkmark.h"

#include <stddef.h>
#include <sys/mman.h>

static uint32_t *page; /* or NULL; constant once it is there */
static bool is_wiped_on_fork;
uint32_t *forkmark_words[N_FORKMARKS];

/* Populated: it is written to at once, and a fault would take several times as long. */
static void map_page(uint64_t *n_syscalls)
{
    *n_syscalls += 2;
    void *at = mmap(NULL, N_FORKMARKS * sizeof(*page), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED)
        return;
    is_wiped_on_fork = madvise(at, N_FORKMARKS * sizeof(*page), MADV_WIPEONFORK) == 0;
    page = at;
}

bool forkmark_set(enum forkmark which, uint64_t *n_syscalls)
{
    if (!page)
        map_page(n_syscalls);
    if (!page || !is_wiped_on_fork)
        return false;
    /* Relaxed: it orders nothing. Whoever asks without source.c's lock has learnt from what was
     * done under it that the mark is there. */
    atomic_store_relaxed(&page[which], 1);
    forkmark_words[which] = &page[which];
    return true;
}
