/*
 * Fenced blocks, in the manner of Bruce Perens's Electric Fence: under HAKMEM_CHECK=1 the first way
 * to serve a request, while there is room.
 *
 * A fenced block has pages of its own, its end at the end of the last of them, and a page behind
 * that nothing may touch; a freed one has no accessible page at all. So reads and writes past the
 * end and after free stop at the very instruction, by SIGSEGV, for which there is a handler that
 * says what it was. The few bytes between the block and its pages' ends hold a filler, looked at
 * when the block is freed and at exit.
 *
 * The blocks lie in a zone of address space of their own, outside the window, on private memory. A
 * zone page is never used, of a live block, behind one, or freed; pages are taken in turn round the
 * zone, so that a freed block's addresses stay unused for as long as possible. What is known of a
 * page is out of line.
 *
 * All functions but the two that say otherwise are called under guard.c's lock.
 */
#ifndef HAKMEM_LIBCLIENT_FENCE_H
#define HAKMEM_LIBCLIENT_FENCE_H

#include <stdbool.h>
#include <stddef.h>

/* Reserves the zone and handles faults in it. Where address space is limited there is no zone, and
 * no block is fenced. Once, before there are threads. */
void fence_init(void);

/* Any thread, without the lock. */
bool fence_contains(const void *at);

/* A block of n_bytes, all zero, at a multiple of `alignment` (a power of two from 16 up to this).
 * NULL: no room, or too many live. */
#define FENCE_MAX_ALIGNMENT ((size_t)4096)
void *fence_allocate(size_t n_bytes, size_t alignment);

/* For an address in the zone: FENCE_OK, or the enum misuse that it is to free it, or to ask for its
 * size. */
#define FENCE_OK (-1)
int fence_free(void *block);
int fence_find(const void *block, size_t *n_bytes);

/* Aborts with the message that tells which block is concerned. Without the lock. */
_Noreturn void fence_abort(int misuse, const void *at);

/* The live block whose filler was overwritten, and by which enum misuse; FENCE_OK: none. Of all, or
 * of the last few that were given out. */
int fence_check_all(void **block);
int fence_check_recent(void **block);

#endif
