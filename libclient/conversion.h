/*
 * Conversion: at a fork every shared mapping becomes a private copy on write, pinned in the ledger,
 * so that parent and child do not see each other's writes.
 *
 * Called by fork.c, signals blocked, with source.c's lock held or, in a handler, interrupted.
 *
 * Place in the life of a SuperSlab: leased -> copied; in the child, out of reach if that failed.
 */
#ifndef HAKMEM_LIBCLIENT_CONVERSION_H
#define HAKMEM_LIBCLIENT_CONVERSION_H

#include <stdbool.h>

/* In the parent, before. `is_interrupted`: this runs in a signal handler, below it is code that
 * holds source.c's lock. */
void conversion_at_fork(bool is_interrupted);
/* In the child: what could not be copied is withheld, and the link is the parent's alone. */
void conversion_in_child(void);

#endif
