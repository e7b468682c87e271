/*
 * Tails: what a huge block leaves unused of its last SuperSlab.
 *
 * With its 2 MiB page it would be resident: of many blocks of 1.1 MiB nearly half. So while a
 * program comes to hold more in huge blocks than it ever did, more than a little, and a quarter
 * more than it asked for, the ends of such blocks go back to the host if they are a good part of
 * them. What comes and goes below that mark pays nothing. All of the block can be used as ever;
 * what is touched of its end comes page by page.
 *
 * Place in the life of a SuperSlab: carved as one.
 */
#ifndef HAKMEM_LIBCLIENT_TAILS_H
#define HAKMEM_LIBCLIENT_TAILS_H

#include <stddef.h>

/* A huge block that was just taken, for n_bytes, and that nobody has seen yet. No lock is held. */
void tails_give_back(void *block, size_t n_bytes);

#endif
