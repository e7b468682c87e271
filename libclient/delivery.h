/*
 * What the daemon delivers, checked before it is trusted: the point where an extent passes into the
 * program. After these checks touching a mapping of it can never raise SIGBUS, whatever the daemon
 * does later.
 *
 * Also the ledgers delivered so far. A ledger's addresses stay mapped for good, since a late reader
 * may hold one: what a newer one has replaced for some time, and every one in a forked child,
 * becomes private zero memory in place, so that neither mappings nor the daemons' memory pile up
 * over restarts, and a late writer harms nobody.
 *
 * `n_syscalls` is where the caller counts what is called here.
 */
#ifndef HAKMEM_LIBCLIENT_DELIVERY_H
#define HAKMEM_LIBCLIENT_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ledger.h"
#include "proto/wire.h"

#define DELIVERY_RETIRED_LEDGERS 4u

struct delivery_mapping {
    struct ledger *ledger;
    size_t n_bytes;
};

struct delivery_ledgers {
    struct delivery_mapping current;
    struct delivery_mapping retired[DELIVERY_RETIRED_LEDGERS];
    unsigned n_retired;
};

/* Are these extents, and the descriptors they came with (borrowed), what the protocol says they
 * must be? The files' inode numbers into inodes[0..n_extents). */
bool delivery_extents_are_valid(Hakmem__Extent *const *extents, size_t n_extents, const int *fds,
                                uint32_t n_slots, uint32_t run_slabs, uint64_t *inodes,
                                uint64_t *n_syscalls);

/* Maps the ledger and makes it the current one; borrows `fd`. False: it is no ledger of that many
 * slots. */
bool delivery_map_ledger(struct delivery_ledgers *ledgers, int fd, uint32_t n_slots,
                         uint64_t *n_syscalls);
/* There is no current ledger any more; its addresses stay. */
void delivery_retire_ledger(struct delivery_ledgers *ledgers, uint64_t *n_syscalls);
/* In a forked child: they are the parent's, all of them. */
void delivery_abandon_ledgers(struct delivery_ledgers *ledgers, uint64_t *n_syscalls);

#endif
