/* See memfd.h. */
#include "hakmemd/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/superslab.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21U << 26)
#endif

/* What memfd_clear() writes from, again and again: it stays in the processor's nearest cache. */
#define ZEROS_BYTES 4096u
/* And so much of it in one go: of a 2 MiB page the kernel writes all that a call has without
 * looking whether somebody waits for the processor, up to a millisecond of it. */
#define CLEAR_STEP_BYTES ((size_t)128 << 10)
#define N_ZEROS          (CLEAR_STEP_BYTES / ZEROS_BYTES)

static int create_sealed(const char *name, size_t n_bytes, unsigned flags)
{
    flags |= MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
        fd = memfd_create(name, flags);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)n_bytes) < 0 || fchmod(fd, 0600) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int memfd_reopen(int fd, int *fd_out)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int reopened = open(path, O_RDWR | O_CLOEXEC);
    if (reopened < 0)
        return -errno;
    *fd_out = reopened;
    return 0;
}

int memfd_create_extent(size_t n_bytes, bool hugetlb, int *fd_out)
{
    unsigned flags = hugetlb ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
    int original = create_sealed("hakmem-extent", n_bytes, flags);
    if (original < 0)
        return original;
    int r = memfd_reopen(original, fd_out);
    close(original);
    return r;
}

int memfd_create_ledger(size_t n_bytes, int *fd_out)
{
    int fd = create_sealed("hakmem-ledger", n_bytes, 0);
    if (fd < 0)
        return fd;
    *fd_out = fd;
    return 0;
}

uint64_t memfd_inode(int fd)
{
    struct stat status;
    return fstat(fd, &status) < 0 ? 0 : status.st_ino;
}

int memfd_prove_exclusive(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
        return errno == EAGAIN || errno == EBUSY ? MEMFD_SHARED : -errno;
    /* Nobody can open it between the two but by /proc/PID/fd of this very process. */
    if (fcntl(fd, F_SETLEASE, F_UNLCK) < 0)
        return -errno;
    return 0;
}

int memfd_punch(int fd, uint32_t first, uint32_t n_slabs)
{
    off_t at = (off_t)first << SUPERSLAB_SHIFT;
    off_t n_bytes = (off_t)n_slabs << SUPERSLAB_SHIFT;
    int r;
    do {
        r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, n_bytes);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

uint16_t memfd_find_holes(int fd, uint32_t n_slabs)
{
    off_t n_bytes = (off_t)n_slabs << SUPERSLAB_SHIFT;
    uint16_t slabs = 0;
    for (off_t at = 0; at < n_bytes;) {
        off_t hole = lseek(fd, at, SEEK_HOLE);
        if (hole >= n_bytes)
            break;
        if (hole < 0) /* not to be known */
            hole = at;
        slabs |= (uint16_t)(1u << (hole >> SUPERSLAB_SHIFT));
        at = ((hole >> SUPERSLAB_SHIFT) + 1) << SUPERSLAB_SHIFT;
    }
    return slabs;
}

int memfd_clear(int fd, uint32_t n_slabs)
{
    static const unsigned char zeros[ZEROS_BYTES];
    struct iovec parts[N_ZEROS];
    off_t at = 0, end = (off_t)n_slabs << SUPERSLAB_SHIFT;
    for (size_t i = 0; i < N_ZEROS; i++)
        parts[i] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = ZEROS_BYTES};
    while (at < end) {
        size_t n_left = (size_t)(end - at) / ZEROS_BYTES;
        int n_parts = (int)(n_left < N_ZEROS ? n_left : N_ZEROS);
        ssize_t n = pwritev(fd, parts, n_parts, at);
        if (n < 0 && errno != EINTR)
            return -errno;
        /* What is cut short is begun again at the last whole part: twice zero is zero. */
        if (n >= 0 && n < (ssize_t)ZEROS_BYTES)
            return -EIO;
        if (n > 0)
            at += n / (ssize_t)ZEROS_BYTES * (ssize_t)ZEROS_BYTES;
    }
    return 0;
}

int memfd_map(int fd, uint32_t n_slabs, struct memfd_mapping *mapping_out)
{
    struct memfd_mapping mapping = {.n_bytes = (size_t)n_slabs << SUPERSLAB_SHIFT};
    mapping.reserve_bytes = mapping.n_bytes + SUPERSLAB_BYTES;
    mapping.reserve = mmap(NULL, mapping.reserve_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping.reserve == MAP_FAILED)
        return -errno;
    uintptr_t aligned =
        ((uintptr_t)mapping.reserve + SUPERSLAB_BYTES - 1) & ~(uintptr_t)(SUPERSLAB_BYTES - 1);
    mapping.bytes = mmap((void *)aligned, mapping.n_bytes, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, fd, 0);
    if (mapping.bytes == MAP_FAILED) {
        int r = -errno;
        munmap(mapping.reserve, mapping.reserve_bytes);
        return r;
    }
    *mapping_out = mapping;
    return 0;
}

void memfd_unmap(struct memfd_mapping *mapping)
{
    munmap(mapping->reserve, mapping->reserve_bytes);
    *mapping = (struct memfd_mapping){0};
}
