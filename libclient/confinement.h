/*
 * Confinement: the process has put itself under a seccomp filter. Such a filter lets pass what its
 * author saw the program do, and may kill for anything else. What malloc is expected to do is to
 * map, unmap, move and advise memory; so from then on the library asks the kernel for nothing else:
 * glue.c answers as if it had been refused, the daemon counts as gone, and memory is private.
 *
 * Said by seccomp.c. What was installed before this program was executed is not known here, but let
 * pass what every program does at its start.
 *
 * Place in the life of a SuperSlab: none.
 */
#ifndef HAKMEM_LIBCLIENT_CONFINEMENT_H
#define HAKMEM_LIBCLIENT_CONFINEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/atomic.h"
#include "common/check.h"

/* Filters that were installed, or are about to be. */
extern uint32_t confinement_n_filters __attribute__((visibility("hidden")));

/* Relaxed: the thread that is confined has said so itself before. */
static inline bool confinement_is_on(void)
{
    return check_unlikely(atomic_load_relaxed(&confinement_n_filters) > 0);
}

/* Before the filter, by the thread that it is for; and if there was none after all. */
void confinement_begin(void);
void confinement_undo(void);

#endif
