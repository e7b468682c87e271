/*
 * The pages of a sparse block (sparse.h) that is freed: all of it is to read as zero.
 *
 * What is not resident is dropped, by MADV_DONTNEED, which is next to nothing where nothing is.
 * What is resident, if it is a few pages, is cleared and stays: a program that touches the ends of
 * its blocks then finds some of them there the next time, where a fault, and to give the page back
 * before it, take several times longer than to clear it. That a page is not resident is the
 * kernel's word as of a moment ago, and no proof of anything (it may be swapped out): but each page
 * is either cleared or dropped.
 *
 * Place in the life of a SuperSlab: emptied.
 */
#ifndef HAKMEM_LIBCLIENT_SPARSEPAGES_H
#define HAKMEM_LIBCLIENT_SPARSEPAGES_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Whole SuperSlabs of private memory, the caller's. *n_resident: how many pages were, all of them
 * if the kernel does not tell. False: the kernel would not drop them (locked memory, say); what it
 * reads as is not known.
 */
bool sparsepages_clear(void *at, size_t n_bytes, size_t *n_resident);

/* How many pages are resident. The same. */
size_t sparsepages_count(const void *at, size_t n_bytes);

#endif
