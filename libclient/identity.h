/*
 * Who we are to the daemon, and to the one that takes over from it (docs/restart.md): what its
 * answer to Hello gives, and the next Hello shows. Never another process's: forgotten in a child.
 */
#ifndef HAKMEM_LIBCLIENT_IDENTITY_H
#define HAKMEM_LIBCLIENT_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/wire.h"

struct identity {
    uint64_t client_id; /* 0: nobody that outlives this daemon */
    unsigned char token[WIRE_TOKEN_BYTES];
};

/* Says in a Hello that we can re-attach, and, if `claims`, to which ledger we would. */
void identity_show(const struct identity *identity, bool claims, Hakmem__Hello *hello);
/* Keeps what the answer gives, which may be nothing. */
void identity_take(struct identity *identity, const Hakmem__HelloReply *hello);
void identity_forget(struct identity *identity);

#endif
