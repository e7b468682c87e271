/*
 * Sparse blocks: huge zeroed blocks of which the program is expected to touch little.
 *
 * A huge block that is to be zero and gets memory that was used before has to be cleared, which
 * takes its whole time and makes all of it resident. For a program that touches little of such
 * blocks it is better to get private memory in small pages (SuperSlabs with is_sparse), which is
 * made zero when the block is freed (sparsepages.h): next to nothing has to be cleared, and only
 * what is touched is held. For one that fills them
 * that is several times dearer: a fault for every 4 KiB. So here it is decided, for each size of
 * block apart, from what the program did with earlier ones:
 *
 *   cleared blocks  when their memory is about to be cleared again, some of its pages are read: a
 *                   page of zeros was hardly written to (sparse_look_at())
 *   sparse blocks   the kernel tells which of their pages are resident (sparse_note_freed())
 *
 * One page in 32 is little: more, in small pages, can cost what clearing all of it does. A size
 * that did not keep what it promised has to promise twice as often before the next trial.
 *
 * This is policy alone. Nothing here says that memory is zero: freeslabs.h does. A wrong guess
 * costs time, never contents. So there is no lock, each word is a relaxed atomic, and an update
 * lost between two threads is one look less.
 *
 * Place in the life of a SuperSlab: carved as one, about to be; emptied, just now.
 */
#ifndef HAKMEM_LIBCLIENT_SPARSE_H
#define HAKMEM_LIBCLIENT_SPARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* So many looks, of a SuperSlab each, have to find little touched before the first trial, and at
 * most before a later one. */
#define SPARSE_FIRST_LOOKS 4u
#define SPARSE_MOST_LOOKS  1024u

/* Is the program expected to touch little of a zeroed block of so many SuperSlabs? */
bool sparse_is_expected(uint32_t n_slabs);

/* The caller's SuperSlabs, which it is about to clear: was what they were cleared for before used?
 */
void sparse_look_at(uint32_t first, uint32_t n_slabs);

/* A zeroed block is handed out: cleared, n_bytes of it; or sparse. */
void sparse_note_cleared(uint32_t first, uint32_t n_slabs, size_t n_bytes);
void sparse_note_sparse(uint32_t first, uint32_t n_slabs);

/* A sparse block is about to be freed: is it to be known how many of its pages are resident? Not of
 * each, where all of late were as expected. */
bool sparse_must_count(uint32_t n_slabs);
/* A sparse block was freed, of which so many pages were resident; the kernel would not let pages of
 * one go. */
void sparse_note_freed(uint32_t n_slabs, size_t n_resident);
void sparse_note_failure(uint32_t n_slabs);

struct sparse_counters {
    uint64_t n_blocks;    /* sparse blocks handed out */
    uint64_t n_misjudged; /* trials that ended because more was touched, or pages would not go */
};
/* Relaxed: figures. */
struct sparse_counters sparse_counters(void);

#endif
