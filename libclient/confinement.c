/* See confinement.h. */
#include "libclient/confinement.h"

uint32_t confinement_n_filters;

void confinement_begin(void)
{
    atomic_add_relaxed(&confinement_n_filters, 1);
}

void confinement_undo(void)
{
    atomic_sub_relaxed(&confinement_n_filters, 1);
}
