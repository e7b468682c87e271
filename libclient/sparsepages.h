/*
 * The pages of a sparse block (sparse.h) that is freed: all of it is to read as zero.
 *
 * There are two ways. One call drops all of it (MADV_DONTNEED). Or the kernel is asked which pages
 * are resident; these, if they are few, are cleared and stay, and what lies between them is
 * dropped: a program that touches the ends of its blocks then finds some of them there the next
 * time, without a fault. Which one is cheaper depends on the machine: the one call takes 2 us for a
 * block of 8 MiB with two pages on one, and 100 for each SuperSlab on another, whose faults are
 * dear, too. So both are timed at first, and then the cheaper one serves.
 *
 * That a page is not resident is the kernel's word as of a moment ago, and no proof of anything (it
 * may be swapped out): but each page is either cleared or dropped.
 *
 * Place in the life of a SuperSlab: emptied.
 */
#ifndef HAKMEM_LIBCLIENT_SPARSEPAGES_H
#define HAKMEM_LIBCLIENT_SPARSEPAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whole SuperSlabs of private memory, the caller's. *n_resident: how many pages were, all of them
 * if the kernel does not tell; SPARSEPAGES_UNKNOWN if it was not asked, which the caller may wish
 * for by must_count. False: the kernel would not drop them (locked memory, say); what it reads as
 * is not known.
 */
#define SPARSEPAGES_UNKNOWN SIZE_MAX
bool sparsepages_clear(void *at, size_t n_bytes, bool must_count, size_t *n_resident);

/* How many pages are resident. The same. */
size_t sparsepages_count(const void *at, size_t n_bytes);

#endif
