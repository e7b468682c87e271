/*
 * Memory files: where a SuperSlab is created, and where it is proved that nobody else holds one.
 *
 * The daemon's own descriptor D of an extent is a *reopened* one, because a memfd's first
 * descriptor does not count as a writer of its inode. Every other descriptor, mapping, forked child
 * or message in flight does, so the kernel grants a write lease on D exactly when D is all there is
 * (fcntl(2), F_SETLEASE).
 *
 * No state, no logging; any thread.
 */
#ifndef HAKMEMD_MEMFD_H
#define HAKMEMD_MEMFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Positive, documented condition of memfd_prove_exclusive(). */
#define MEMFD_SHARED 1

/* An extent's file: mode 0600, sealed against any change of size and of seals. 0 and D, or a
 * negative errno. */
int memfd_create_extent(size_t n_bytes, bool hugetlb, int *fd_out);

/* A ledger's file, sealed likewise: it is shared from the start, so that any descriptor will do. */
int memfd_create_ledger(size_t n_bytes, int *fd_out);

/* Another read-write descriptor of the same file, which is the caller's: the one to lease. */
int memfd_reopen(int fd, int *fd_out);

/* The file's number, or 0: not to be known. */
uint64_t memfd_inode(int fd);

/* 0: D is the only descriptor and mapping. MEMFD_SHARED: something else holds the file. Or a
 * negative errno. */
int memfd_prove_exclusive(int fd);

/* Frees the pages of `n_slabs` SuperSlabs from `first` on; they read as zero from then on. 0 or a
 * negative errno. */
int memfd_punch(int fd, uint32_t first, uint32_t n_slabs);

/* Which of the file's first `n_slabs` SuperSlabs lack a page: a bit each. Moves D's file offset,
 * which nothing else uses. (Not of hugetlb.) */
uint16_t memfd_find_holes(int fd, uint32_t n_slabs);

/*
 * Writes zeros over the first `n_slabs` SuperSlabs: in place where there are pages. By the file and
 * not by a mapping: to take one down makes every processor that runs a thread of the daemon drop
 * its translations, the loop's, too. (With shmem_enabled at advise 0.07 ms for a SuperSlab, by a
 * mapping 0.26; at never the kernel writes in steps of 4 KiB, and it comes to the same.) Not of
 * hugetlb, which cannot be written so. 0 or a negative errno.
 */
int memfd_clear(int fd, uint32_t n_slabs);

/* A mapping of an extent, aligned to SuperSlabs so that 2 MiB pages fit. `reserve` is what to
 * unmap. */
struct memfd_mapping {
    unsigned char *bytes;
    size_t n_bytes;
    void *reserve;
    size_t reserve_bytes;
};

int memfd_map(int fd, uint32_t n_slabs, struct memfd_mapping *mapping_out);
void memfd_unmap(struct memfd_mapping *mapping);

#endif
