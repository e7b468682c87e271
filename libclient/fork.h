/*
 * fork(): leased memory is shared memory, so before a process is copied its leased SuperSlabs
 * become private copies on write and are pinned in the ledger, the daemon's sign to leave them
 * alone.
 *
 * In the *prepare* handler, since glibc's child writes to heap memory before any child handler
 * runs. All of the library's locks are held across the fork, so that the child finds the heap
 * whole.
 */
#ifndef HAKMEM_LIBCLIENT_FORK_H
#define HAKMEM_LIBCLIENT_FORK_H

/* Registers the handlers. Once, from a constructor. */
void fork_init(void);

#endif
