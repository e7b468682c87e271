/*
 * The first large block of a process, in address space of its own: it ends where its last page
 * ends, nothing may be touched for 2 MiB behind it and before it, and once it is freed, it never
 * may again. So what a small program does wrong with its one buffer ends by SIGSEGV at that
 * instruction, and a second free is named however late it comes.
 *
 * One block, not more: each costs two system calls, and two more when it is freed. It takes the
 * place of a block in the first SuperSlab, which has small pages, too. There is no lock: each step
 * is one transition of one word.
 *
 * Place in the life of a SuperSlab: none; the block is outside of the window.
 */
#ifndef HAKMEM_LIBCLIENT_FIRSTLARGE_H
#define HAKMEM_LIBCLIENT_FIRSTLARGE_H

#include <stdbool.h>
#include <stddef.h>

/* Less is what a program has several of, or what a C++ library keeps for emergencies. */
#define FIRSTLARGE_MIN_BYTES ((size_t)128 << 10)
#define FIRSTLARGE_MAX_BYTES ((size_t)256 << 10)

/* n_bytes, all zero, at a multiple of 16. NULL: it is not the first of at least
 * FIRSTLARGE_MIN_BYTES, or too large. */
void *firstlarge_allocate(size_t n_bytes);

/* Is it in the block, or in what lies around it? Any pointer may be asked about. */
bool firstlarge_contains(const void *pointer);

/* Is it in the block, while that is live? */
bool firstlarge_owns(const void *pointer);
/* Its size, while it is live, and that of its pages. */
size_t firstlarge_live_bytes(void);
size_t firstlarge_held_bytes(void);

/* For a pointer there. Aborts if it is not the live block. The size is what was asked for. */
size_t firstlarge_usable(const void *block);
void firstlarge_free(void *block);

#endif
