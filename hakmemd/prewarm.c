/* See prewarm.h. */
#include "hakmemd/prewarm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/types.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/superslab.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* 4 KiB pages populated in one go: some tens of microseconds under the address space lock. */
#define POPULATE_STEP_BYTES ((size_t)128 << 10)
#define SMALL_PAGE_BYTES    4096

#define MAX_NODES 1024 /* the kernel's own bound */
#define LONG_BITS (8 * (int)sizeof(long))

/* linux/fs.h of Linux 6.7: PAGEMAP_SCAN. Older headers lack it. */
struct scan_region {
    __u64 start;
    __u64 end;
    __u64 categories;
};

struct scan_argument {
    __u64 size;
    __u64 flags;
    __u64 start;
    __u64 end;
    __u64 walk_end;
    __u64 regions;
    __u64 n_regions;
    __u64 max_pages;
    __u64 category_inverted;
    __u64 category_mask;
    __u64 category_anyof_mask;
    __u64 return_mask;
};

#define SCAN_IOCTL   _IOWR('f', 16, struct scan_argument)
#define SCAN_IS_HUGE ((__u64)1 << 6)

static unsigned char *slab_address(const struct memfd_mapping *mapping, unsigned index)
{
    return mapping->bytes + ((size_t)index << SUPERSLAB_SHIFT);
}

static unsigned slab_count(const struct memfd_mapping *mapping)
{
    return (unsigned)(mapping->n_bytes >> SUPERSLAB_SHIFT);
}

static int measure_by_scan(const struct memfd_mapping *mapping, uint16_t *huge_slabs_out)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    struct scan_region regions[EXTENT_MAX_SLABS + 1];
    uint64_t start = (uintptr_t)mapping->bytes;
    struct scan_argument argument = {.size = sizeof(argument),
                                     .start = start,
                                     .end = start + mapping->n_bytes,
                                     .regions = (uintptr_t)regions,
                                     .n_regions = EXTENT_MAX_SLABS + 1,
                                     .category_mask = SCAN_IS_HUGE,
                                     .return_mask = SCAN_IS_HUGE};
    int n = ioctl(fd, SCAN_IOCTL, &argument);
    int r = n < 0 ? -errno : 0;
    close(fd);
    if (r < 0)
        return r;
    uint16_t huge = 0;
    for (int i = 0; i < n; i++)
        for (uint64_t at = regions[i].start; at < regions[i].end; at += SUPERSLAB_BYTES)
            huge |= (uint16_t)(1u << ((at - start) >> SUPERSLAB_SHIFT));
    *huge_slabs_out = huge;
    return 0;
}

/* Before Linux 6.7. All or, unless the whole of the mapping is huge, as many as smaps counts, from
 * the first on. */
static int measure_by_smaps(const struct memfd_mapping *mapping, uint16_t *huge_slabs_out)
{
    FILE *smaps = fopen("/proc/self/smaps", "re");
    if (!smaps)
        return -errno;
    char line[512];
    bool inside = false;
    unsigned long long start, end, kib = 0;
    while (fgets(line, sizeof(line), smaps)) {
        if (sscanf(line, "%llx-%llx ", &start, &end) == 2) {
            if (inside)
                break;
            inside = start == (uintptr_t)mapping->bytes;
        } else if (inside && (sscanf(line, "ShmemPmdMapped: %llu", &kib) == 1 ||
                              sscanf(line, "Shared_Hugetlb: %llu", &kib) == 1 ||
                              sscanf(line, "Private_Hugetlb: %llu", &kib) == 1)) {
            if (kib > 0)
                break;
        }
    }
    fclose(smaps);
    unsigned n = (unsigned)(kib >> (SUPERSLAB_SHIFT - 10));
    *huge_slabs_out = (uint16_t)((1u << (n > slab_count(mapping) ? slab_count(mapping) : n)) - 1);
    return 0;
}

int prewarm_measure(const struct memfd_mapping *mapping, uint16_t *huge_slabs_out)
{
    int r = measure_by_scan(mapping, huge_slabs_out);
    return r == -ENOTTY || r == -EINVAL ? measure_by_smaps(mapping, huge_slabs_out) : r;
}

/* Populates without ever raising SIGBUS for want of memory. */
static int populate(unsigned char *at, size_t n_bytes, size_t step)
{
    for (size_t done = 0; done < n_bytes; done += step) {
        int r;
        do {
            r = madvise(at + done, step, MADV_POPULATE_WRITE);
        } while (r < 0 && (errno == EINTR || errno == EAGAIN));
        if (r < 0)
            return errno == EFAULT ? -ENOMEM : -errno;
    }
    return 0;
}

/* One page of each SuperSlab: of whatever size the kernel will give. */
static int touch_each(const struct memfd_mapping *mapping, uint16_t slabs,
                      enum extent_backing backing)
{
    size_t n_bytes = backing == BACKING_HUGETLB ? SUPERSLAB_BYTES : SMALL_PAGE_BYTES;
    for (unsigned i = 0; i < slab_count(mapping); i++) {
        int r = slabs & 1u << i ? populate(slab_address(mapping, i), n_bytes, n_bytes) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int populate_each(const struct memfd_mapping *mapping, uint16_t slabs)
{
    for (unsigned i = 0; i < slab_count(mapping); i++) {
        int r = slabs & 1u << i
                    ? populate(slab_address(mapping, i), SUPERSLAB_BYTES, POPULATE_STEP_BYTES)
                    : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/*
 * Run by run, not one by one: each call makes the kernel empty every processor's page batches
 * first, and holds the address space lock for it. What came of it is measured.
 */
static void collapse_each(const struct memfd_mapping *mapping, uint16_t slabs)
{
    for (unsigned i = 0, n; i<slab_count(mapping); i += n> 0 ? n : 1) {
        for (n = 0; i + n < slab_count(mapping) && slabs & 1u << (i + n); n++)
            ;
        if (n > 0)
            madvise(slab_address(mapping, i), n * SUPERSLAB_BYTES, MADV_COLLAPSE);
    }
}

int prewarm_slabs(const struct memfd_mapping *mapping, uint16_t slabs, enum extent_backing backing,
                  uint16_t *huge_slabs_out, uint32_t *n_collapsed_out)
{
    uint16_t huge = 0;
    uint32_t n_collapsed = 0;
    int r = 0;

    /* Fails where the kernel is built without huge pages: then the measurement says so. */
    if (backing != BACKING_HUGETLB)
        madvise(mapping->bytes, mapping->n_bytes,
                backing == BACKING_4K ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    if (backing != BACKING_4K) {
        r = touch_each(mapping, slabs, backing);
        if (r == 0)
            r = prewarm_measure(mapping, &huge);
        if (r < 0)
            return r;
    }
    if (backing == BACKING_AUTO && (slabs & ~huge) != 0) {
        uint16_t before = huge;
        collapse_each(mapping, slabs & (uint16_t)~huge);
        r = prewarm_measure(mapping, &huge);
        if (r < 0)
            return r;
        n_collapsed = (uint32_t)__builtin_popcount(slabs & huge & (uint16_t)~before);
    }
    r = populate_each(mapping, slabs & (uint16_t)~huge);
    if (r < 0)
        return r;
    *huge_slabs_out = slabs & huge;
    *n_collapsed_out = n_collapsed;
    return 0;
}

void prewarm_bind(int binding)
{
    unsigned long nodes[MAX_NODES / LONG_BITS] = {0};
    if (binding < 0 || binding >= MAX_NODES)
        return;
    nodes[binding / LONG_BITS] = 1ul << (binding % LONG_BITS);
    /* The kernel does not read the last of the bits it is told of. Failing: see the measurement. */
    syscall(SYS_set_mempolicy, MPOL_PREFERRED, nodes, MAX_NODES + 1);
}

/* SuperSlabs whose first page is on another node. */
static uint32_t count_misplaced(const struct memfd_mapping *mapping, int binding)
{
    uint32_t n = 0;
    for (unsigned i = 0; binding >= 0 && i < slab_count(mapping); i++) {
        int node;
        n += syscall(SYS_get_mempolicy, &node, NULL, 0, slab_address(mapping, i),
                     MPOL_F_NODE | MPOL_F_ADDR) == 0 &&
             node != binding;
    }
    return n;
}

void prewarm_run(struct worker_job *job)
{
    struct extent_work *work = list_entry(job, struct extent_work, job);
    struct extent *extent = list_entry(work, struct extent, work);
    struct memfd_mapping mapping;

    work->huge_slabs = 0;
    work->n_collapsed = 0;
    work->n_misplaced = 0;
    work->error = memfd_map(extent->fd, extent->n_slabs, &mapping);
    if (work->error < 0)
        return;
    prewarm_bind(work->binding);
    work->error = prewarm_slabs(&mapping, extent_all_slabs(extent), work->backing,
                                &work->huge_slabs, &work->n_collapsed);
    if (work->error == 0)
        work->n_misplaced = count_misplaced(&mapping, work->binding);
    memfd_unmap(&mapping);
    if (work->error == 0)
        extent_open_ahead(extent);
}
