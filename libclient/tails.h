/*
 * Tails: what a huge block leaves unused of its last SuperSlab.
 *
 * With its 2 MiB page it would be resident: of many blocks of 1.1 MiB nearly half. So where a block
 * gets new memory, while a program has more than a little in huge blocks, and a quarter more than
 * it asked for, its end goes back to the host if it is a good part of it. Memory that comes and
 * goes pays nothing: it stays without its end. All of the block can be used as ever; what is
 * touched of its end comes page by page.
 *
 * Place in the life of a SuperSlab: carved as one.
 */
#ifndef HAKMEM_LIBCLIENT_TAILS_H
#define HAKMEM_LIBCLIENT_TAILS_H

#include <stddef.h>

/* A huge block that was just taken, for n_bytes, of new memory, and that nobody has seen yet. No
 * lock is held. */
void tails_give_back(void *block, size_t n_bytes);

#endif
