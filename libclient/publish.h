/*
 * The client's figures in the ledger: copied there at slow paths, so that hakmemctl shows them
 * without asking the program.
 */
#ifndef HAKMEM_LIBCLIENT_PUBLISH_H
#define HAKMEM_LIBCLIENT_PUBLISH_H

#include <stdint.h>

/* One class, after a refill or flush: `n_cached` blocks are in thread caches. Nothing without a
 * ledger. */
void publish_class(unsigned class, uint64_t n_cached);
/* The process's counters. */
void publish_counters(uint64_t n_refills, uint64_t n_flushes);

void publish_count_fork(void);
uint64_t publish_n_forks(void);
/* mmap, munmap, madvise, send, receive and the like made by the library. */
uint64_t publish_n_syscalls(void);

#endif
