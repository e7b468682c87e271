/*
 * A witness: the kernel's word on whether any process that was forked from this one still lives.
 *
 * A small memfd, mapped shared and never touched. Every process that is made from this one, by
 * whichever call, inherits the mapping and keeps it until it ends or executes another program, and
 * so do its own children; nothing that a program does on purpose removes it. Once we have unmapped
 * ours (retired it), the kernel grants F_SEAL_WRITE on the file exactly when no mapping is left
 * (fcntl(2): EBUSY while "a writable, shared mapping" exists). Descriptors do not count, so that a
 * child may close or keep them.
 *
 * Not thread-safe: originals.c's, under source.c's lock.
 */
#ifndef HAKMEM_LIBCLIENT_WITNESS_H
#define HAKMEM_LIBCLIENT_WITNESS_H

#include <stdbool.h>

#include "libclient/descriptor.h"

struct witness {
    struct descriptor file;
    void *at; /* our mapping; NULL: retired, or none */
};

#define WITNESS_NONE ((struct witness){.file = {.fd = -1}})

/* False: no descriptor, no memory. Whoever is forked from here on is seen. */
bool witness_init(struct witness *witness);
bool witness_exists(const struct witness *witness);
/* Removes our mapping: whoever is forked from here on is not seen. */
void witness_retire(struct witness *witness);

enum witness_answer {
    WITNESS_ALONE, /* nobody who was forked between its init and its retirement is left */
    WITNESS_HELD,
    WITNESS_LOST, /* the program has closed the descriptor: nobody will ever know */
};
/* Of a retired one. */
enum witness_answer witness_ask(const struct witness *witness);

/* Closes the descriptor. A mapping stays: in a forked process it is the parent's witness, for
 * good. */
void witness_forget(struct witness *witness);

#endif
