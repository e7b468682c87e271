/*
 * Private SuperSlabs: anonymous memory of the program's own, where the daemon has none to give or
 * a block grows.
 *
 * All under source.c's lock, signals blocked where memory is mapped.
 *
 * Place in the life of a SuperSlab: mapped -> warm; warm and not wanted -> purged, cold.
 */
#ifndef HAKMEM_LIBCLIENT_PRIVATE_H
#define HAKMEM_LIBCLIENT_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What there is now and was at most, in bytes. `bytes` is read without the lock, too. */
struct private_memory {
    size_t bytes, peak_bytes;
};

extern struct private_memory private_memory __attribute__((visibility("hidden")));

enum private_place {
    PRIVATE_AMONG_OTHERS, /* SuperSlabs to carve */
    PRIVATE_SMALL_PAGES,  /* the same, for a program that touches little of them */
    PRIVATE_SPARSE,       /* a sparse block's (sparse.h), in small pages, too */
    PRIVATE_APART,        /* a huge block's, with room behind it to grow */
};

/* Maps fresh private memory for `n_slabs`, and ahead for later ones where that costs nothing.
 * False: no memory, or no address space. */
bool private_map(enum private_place place, uint32_t n_slabs, uint32_t align, uint32_t *first);

/* Makes [at, at + n_slabs) private memory in use: what is free private memory there as far as it
 * goes, and fresh memory behind that. False: the place is taken, nothing changed. */
bool private_extend(uint32_t at, uint32_t n_slabs);

/* Sparse SuperSlabs among these, of a block or just taken, are not from here on: what is touched
 * comes in huge pages. */
void private_make_dense(uint32_t first, uint32_t n_slabs);

/* Purges warm ones that nobody wanted for more than `idle_s` seconds, or that are free, if 0, down
 * to `keep_bytes`; not those that are kept. Bytes purged. */
size_t private_purge(uint32_t idle_s, size_t keep_bytes);

/* How many warm ones were used, but for those that are kept prewarmed; and letting go of these but
 * for the lowest `n_kept`: each that goes has its bit set in `gone`. How many. */
uint32_t private_count_used(void);
uint32_t private_purge_beyond(uint32_t n_kept, uint64_t *gone);

/*
 * So many SuperSlabs without pages are about to be touched, for a block that found too few free
 * ones in a row: as many that were used and are free are purged, not to be held beside. What was
 * brought in ahead of its use stays: it was asked for.
 */
void private_make_room(uint32_t n_slabs);

/* Counts memory that was mapped elsewhere. */
void private_count(uint32_t n_slabs);

#endif
