/*
 * Tells of forks that ran no handlers (_Fork, raw clone): one word in a page that the kernel zeroes
 * in a child with a copied address space (MADV_WIPEONFORK). It stays silent in a vfork child, which
 * shares our state. A kernel without it: such forks go unnoticed, as everywhere.
 */
#ifndef HAKMEM_LIBCLIENT_FORKMARK_H
#define HAKMEM_LIBCLIENT_FORKMARK_H

#include <stdbool.h>
#include <stdint.h>

/* From now on a child is told from us. `n_syscalls` is where the caller counts what is called here.
 */
void forkmark_set(uint64_t *n_syscalls);
/* Are we a child of the process that set it? False where it was never set. */
bool forkmark_is_wiped(void);

#endif
