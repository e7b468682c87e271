/* See copied.h. */
#include "libclient/copied.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/superslab.h"
#include "libclient/bitmap.h"
#include "libclient/glue.h"
#include "libclient/tables.h"

/* linux/fs.h of Linux 6.7. */
struct scan_region {
    uint64_t start, end, categories;
};
struct scan_argument {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN            _IOWR('f', 16, struct scan_argument)
#define PAGE_IS_FILE    ((uint64_t)1 << 2)
#define PAGE_IS_PRESENT ((uint64_t)1 << 3)
#define PAGE_IS_PFNZERO ((uint64_t)1 << 5)

/* A word of /proc/self/pagemap. */
#define WORD_PRESENT (UINT64_C(1) << 63)
#define WORD_SWAPPED (UINT64_C(1) << 62)
#define WORD_FILE    (UINT64_C(1) << 61)

/* Not on the stack: this may run on a small one, a signal handler's. */
static TABLE_LARGE struct scan_region regions[COPIED_PAGES / 2 + 1];
static TABLE_LARGE uint64_t words[COPIED_PAGES];

int copied_open(void)
{
    int saved_errno = errno;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC | O_NOCTTY);
    glue_count_syscalls(1);
    errno = saved_errno;
    return fd;
}

bool copied_find_by_scan(int fd, const void *superslab, uint64_t bits[COPIED_WORDS])
{
    uint64_t begin = (uint64_t)(uintptr_t)superslab;
    struct scan_argument argument = {
        .size = sizeof(argument),
        .start = begin,
        .end = begin + SUPERSLAB_BYTES,
        .vec = (uint64_t)(uintptr_t)regions,
        .vec_len = sizeof(regions) / sizeof(regions[0]),
        .category_inverted = PAGE_IS_FILE | PAGE_IS_PFNZERO,
        .category_mask = PAGE_IS_FILE | PAGE_IS_PFNZERO | PAGE_IS_PRESENT,
        .return_mask = PAGE_IS_PRESENT,
    };
    int saved_errno = errno;
    int n_regions = ioctl(fd, SCAN, &argument);
    glue_count_syscalls(1);
    errno = saved_errno;
    for (int r = 0; r < n_regions; r++) {
        uint32_t from = (uint32_t)((regions[r].start - begin) / COPIED_PAGE_BYTES);
        uint32_t end = (uint32_t)((regions[r].end - begin) / COPIED_PAGE_BYTES);
        for (uint32_t page = from; page < end && page < COPIED_PAGES; page++)
            bitmap_set(bits, page);
    }
    return n_regions >= 0;
}

bool copied_find_by_reading(int fd, const void *superslab, uint64_t bits[COPIED_WORDS])
{
    int saved_errno = errno;
    off_t at = (off_t)((uintptr_t)superslab / COPIED_PAGE_BYTES * sizeof(words[0]));
    bool ok = pread(fd, words, sizeof(words), at) == (ssize_t)sizeof(words);
    glue_count_syscalls(1);
    errno = saved_errno;
    for (uint32_t page = 0; ok && page < COPIED_PAGES; page++) {
        if ((words[page] & (WORD_PRESENT | WORD_SWAPPED | WORD_FILE)) == WORD_PRESENT)
            bitmap_set(bits, page);
    }
    return ok;
}

bool copied_find(int fd, const void *superslab, uint64_t bits[COPIED_WORDS])
{
    static bool has_no_scan;
    if (!has_no_scan && copied_find_by_scan(fd, superslab, bits))
        return true;
    has_no_scan = true;
    return copied_find_by_reading(fd, superslab, bits);
}
