/* See forkmark.h. */
#include "libclient/forkmark.h"

#include <stddef.h>
#include <sys/mman.h>

static uint32_t *mark; /* the page, or NULL */

void forkmark_set(uint64_t *n_syscalls)
{
    if (!mark) {
        *n_syscalls += 2;
        void *page =
            mmap(NULL, sizeof(*mark), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED)
            return;
        (void)madvise(page, sizeof(*mark), MADV_WIPEONFORK);
        mark = page;
    }
    *mark = 1;
}

bool forkmark_is_wiped(void)
{
    return mark && *mark == 0;
}
