/*
 * The descriptor of an extent, in its first SuperSlab's entry: for the conversion at fork, and to
 * free pages by that nobody needs any more.
 *
 * Programs close numbers that they did not open; the file's identity is checked at each use.
 * Under source.c's lock.
 */
#ifndef HAKMEM_LIBCLIENT_EXTENTFILE_H
#define HAKMEM_LIBCLIENT_EXTENTFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "libclient/window.h"

/* Consumes `fd`: it moves to a high number. That number, for extent_fd. */
int extentfile_adopt(int fd);

/* Is the number still what it was? */
bool extentfile_is_ours(const struct superslab *head);

/* The whole extent, mapped shared once more, or NULL: the descriptor is not ours any more, or no
 * memory. Not by a number that turned into somebody else's file in the meantime. */
unsigned char *extentfile_map(const struct superslab *head);

/* Closes it if it is still ours, and forgets it. */
void extentfile_drop(struct superslab *head);

/* Extents cost a descriptor each: false when they hold as many as they may. */
bool extentfile_may_hold_more(void);
/* The same, with room left for those to come. */
bool extentfile_may_keep(void);

#endif
