/* See glue.h. */
#include "libclient/glue.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/atomic.h"
#include "libclient/confinement.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static uint64_t n_syscalls;

void glue_count_syscalls(uint64_t n)
{
    /* Relaxed: a figure to show. */
    atomic_add_relaxed(&n_syscalls, n);
}

static void count_syscall(void)
{
    glue_count_syscalls(1);
}

uint64_t glue_n_syscalls(void)
{
    return atomic_load_relaxed(&n_syscalls);
}

void *glue_reserve(size_t n_bytes)
{
    count_syscall();
    void *at = mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

void glue_unreserve(void *at, size_t n_bytes)
{
    count_syscall();
    munmap(at, n_bytes);
}

bool glue_make_readable(void *at, size_t n_bytes)
{
    count_syscall();
    return mprotect(at, n_bytes, PROT_READ) == 0;
}

bool glue_make_usable(void *at, size_t n_bytes)
{
    count_syscall();
    return mprotect(at, n_bytes, PROT_READ | PROT_WRITE) == 0;
}

bool glue_map_private(void *at, size_t n_bytes)
{
    count_syscall();
    return mmap(at, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                0) != MAP_FAILED;
}

bool glue_map_shared(void *at, size_t n_bytes, int fd)
{
    count_syscall();
    return mmap(at, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
}

bool glue_is_hugetlb(int fd)
{
    struct statfs status;
    int saved_errno = errno;
    count_syscall();
    bool ok = fstatfs(fd, &status) == 0;
    errno = saved_errno;
    return ok && status.f_type == HUGETLBFS_MAGIC;
}

bool glue_map_copy(void *at, size_t n_bytes, int fd, size_t offset)
{
    count_syscall();
    /* Past libc: no byte changes, and other threads are at work on them meanwhile. ThreadSanitizer
     * takes libc's mmap() for a write to all of them. */
    return (void *)syscall(SYS_mmap, at, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
                           fd, (off_t)offset) != MAP_FAILED;
}

void *glue_map_untouched(size_t n_bytes, int fd)
{
    count_syscall();
    void *at = mmap(NULL, n_bytes, PROT_NONE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

void *glue_map_again(size_t n_bytes, int fd)
{
    count_syscall();
    void *at = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

bool glue_free_file_pages(void *at, size_t n_bytes)
{
    count_syscall();
    return madvise(at, n_bytes, MADV_REMOVE) == 0;
}

bool glue_unmap(void *at, size_t n_bytes)
{
    count_syscall();
    return mmap(at, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
                0) != MAP_FAILED;
}

bool glue_purge(void *at, size_t n_bytes)
{
    count_syscall();
    return madvise(at, n_bytes, MADV_DONTNEED) == 0;
}

void glue_populate(void *at, size_t n_bytes)
{
    count_syscall();
    madvise(at, n_bytes, MADV_POPULATE_WRITE);
}

bool glue_bring_in(void *at, size_t n_bytes)
{
    count_syscall();
    if (madvise(at, n_bytes, MADV_POPULATE_WRITE) == 0)
        return true;
    if (errno != EINVAL)
        return false;
    /* Before Linux 5.14. */
    for (volatile char *page = at, *end = page + n_bytes; page < end; page += glue_page_bytes())
        *page = *page;
    return true;
}

void glue_populate_pages(const void *at, size_t n_bytes)
{
    uintptr_t begin = (uintptr_t)at & ~(uintptr_t)4095;
    uintptr_t end = ((uintptr_t)at + n_bytes + 4095) & ~(uintptr_t)4095;
    glue_populate((void *)begin, end - begin);
}

void glue_huge_pages(void *at, size_t n_bytes)
{
    count_syscall();
    madvise(at, n_bytes, MADV_HUGEPAGE);
}

void glue_no_huge_pages(void *at, size_t n_bytes)
{
    count_syscall();
    madvise(at, n_bytes, MADV_NOHUGEPAGE);
}

void glue_split_huge_page(void *at)
{
    count_syscall();
    /* Such advice about a part of it is what the kernel (5.4 and later) splits one for. */
    madvise(at, glue_page_bytes(), MADV_COLD);
}

bool glue_move(void *from, void *to, size_t n_bytes)
{
    count_syscall();
    return mremap(from, n_bytes, n_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) !=
           MAP_FAILED;
}

bool glue_find_resident(const void *at, size_t n_bytes, unsigned char *resident)
{
    if (confinement_is_on())
        return false;
    int saved_errno = errno;
    count_syscall();
    bool ok = mincore((void *)(uintptr_t)at, n_bytes, resident) == 0;
    errno = saved_errno;
    return ok;
}

bool glue_dont_fork(void *at, size_t n_bytes)
{
    count_syscall();
    return madvise(at, n_bytes, MADV_DONTFORK) == 0;
}

bool glue_copy_in_place(void *at, size_t n_bytes)
{
    count_syscall();
    void *copy = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return false;
    memcpy(copy, at, n_bytes);
    count_syscall();
    if (mremap(copy, n_bytes, n_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {
        glue_unreserve(copy, n_bytes);
        return false;
    }
    return true;
}

void glue_close_uncounted(int fd)
{
    int before;
    /* By libc all the same: tools that watch a program's descriptors watch that. */
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    close(fd);
    pthread_setcancelstate(before, &before);
}

void glue_close(int fd)
{
    count_syscall();
    glue_close_uncounted(fd);
}

int glue_stat(int fd, struct stat *status)
{
    if (confinement_is_on()) {
        errno = EPERM;
        return -1;
    }
#if defined(__x86_64__)
    /* libc's goes by an empty name: a page more of libc that a new process has to bring in. */
    return (int)syscall(SYS_fstat, fd, status);
#else
    return fstat(fd, status);
#endif
}

uint64_t glue_inode(int fd)
{
    struct stat status;
    int saved_errno = errno;
    count_syscall();
    bool ok = glue_stat(fd, &status) == 0;
    errno = saved_errno;
    return ok ? status.st_ino : 0;
}

bool glue_has_size_sealed(int fd)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int saved_errno = errno;
    if (confinement_is_on())
        return false;
    count_syscall();
    int seals = fcntl(fd, F_GET_SEALS);
    errno = saved_errno;
    return seals >= 0 && (seals & wanted) == wanted;
}

uint32_t glue_descriptor_limit(void)
{
    struct rlimit limit;
    if (confinement_is_on())
        return 0;
    count_syscall();
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    return limit.rlim_cur > 65536 ? 65536 : (uint32_t)limit.rlim_cur;
}

/* The kernel's table of a process grows to the highest number in use, in powers of two from 64 on:
 * 1024 takes 8 KiB and a little time in each fork. */
#define HIGH_DESCRIPTOR 960
#define LOW_DESCRIPTOR  32

int glue_first_descriptor(void)
{
    return glue_is_single_threaded() ? HIGH_DESCRIPTOR : LOW_DESCRIPTOR;
}

int glue_descriptor_up(int fd, uint32_t limit)
{
    int first = glue_first_descriptor();
    int from = limit / 2 < (uint32_t)first ? (int)(limit / 2) : first;
    count_syscall();
    int up = fcntl(fd, F_DUPFD_CLOEXEC, from);
    if (up < 0)
        return fd;
    glue_close(fd);
    return up;
}

void glue_block_signals(sigset_t *saved)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, saved);
}

void glue_restore_signals(const sigset_t *saved)
{
    pthread_sigmask(SIG_SETMASK, saved, NULL);
}

size_t glue_page_bytes(void)
{
#if defined(__x86_64__)
    return 4096; /* no other: and sysconf() costs two page faults in a program that has no use of it
                  */
#else
    return (size_t)sysconf(_SC_PAGESIZE);
#endif
}

static size_t limit_of(int resource)
{
    struct rlimit limit;
    if (confinement_is_on() || getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return SIZE_MAX;
    return limit.rlim_cur;
}

size_t glue_address_space_limit(void)
{
    return limit_of(RLIMIT_AS);
}

size_t glue_lockable_limit(void)
{
    return limit_of(RLIMIT_MEMLOCK);
}

int glue_lock_all(int flags)
{
    return (int)syscall(SYS_mlockall, flags);
}

uint32_t glue_n_processors(void)
{
    /* Not sysconf(): glibc's opens files, and may allocate, for it. Not sched_getaffinity() nor
     * CPU_COUNT(), either: each is in a page of libc that nothing else here touches. */
    uint64_t set[CPU_SETSIZE / 64];
    long n_bytes = syscall(SYS_sched_getaffinity, 0, sizeof(set), set);
    uint32_t n = 0;
    for (long i = 0; i < n_bytes / (long)sizeof(set[0]); i++)
        n += (uint32_t)__builtin_popcountll(set[i]);
    return n > 0 ? n : 1;
}

bool glue_is_single_threaded(void)
{
    return __libc_single_threaded;
}

uint32_t glue_thread_id(void)
{
    return (uint32_t)syscall(SYS_gettid);
}

uint64_t glue_n_faults(void)
{
    struct rusage usage;
    if (confinement_is_on())
        return 0;
    count_syscall();
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

uint64_t glue_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t glue_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t glue_now_s(void)
{
    return (uint32_t)(glue_now_ms() / 1000);
}

void glue_pause_us(uint32_t us)
{
    int saved_errno = errno;
    syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
    errno = saved_errno;
}

void glue_futex_wait(uint32_t *word, uint32_t seen)
{
    int saved_errno = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
    errno = saved_errno;
}

void glue_futex_wake_one(uint32_t *word)
{
    int saved_errno = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved_errno;
}
