/*
 * Figures about the process's allocator: gathered for hak_stats() and mallinfo2(), copied into the
 * ledger at slow paths for hakmemctl, written at exit for HAKMEM_STATS=1. They order nothing and
 * decide nothing.
 */
#ifndef HAKMEM_LIBCLIENT_STATS_H
#define HAKMEM_LIBCLIENT_STATS_H

#include <stdint.h>

#include "hakmem.h"

void stats_gather(struct hak_stats *stats);
void stats_gather_class(unsigned class, struct hak_class_stats *stats);

/* One JSON line on stderr. */
void stats_write(void);

#endif
