/*
 * One connection to the daemon, below the requests' meaning: its descriptor, packets out and in,
 * numbered.
 *
 * Invariants:
 * - The descriptor is sent to, received from and closed only right after descriptor.c said that it
 *   is ours. To poll somebody else's does no harm.
 * - Replies come strictly in the order of the requests: any packet but the next one is an error, so
 *   that a daemon can never keep us reading.
 *
 * Runs inside malloc: it must not allocate, print, or wait longer than it is told to. Not
 * thread-safe: link.c's. `n_syscalls` is where the caller counts what is called here.
 */
#ifndef HAKMEM_LIBCLIENT_CONNECTION_H
#define HAKMEM_LIBCLIENT_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conn.h"
#include "libclient/descriptor.h"
#include "proto/wire.h"

struct connection {
    struct descriptor socket;
    uint64_t last_id; /* of the requests sent */
    uint64_t next_reply_id;
    bool is_new; /* nothing was sent as yet */
};

/* False: nobody there, or no number for the descriptor, or so few that all are to be left to the
 * program (RLIMIT_NOFILE). What is sent first is to be sent right
 * away: whose the descriptor is has just been seen. */
bool connection_open(struct connection *connection, const char *path, uint64_t *n_syscalls);
/* False: the descriptor was somebody else's; it was left alone. */
bool connection_close(struct connection *connection, uint64_t *n_syscalls);

/* Sends the request under the next id. False: the connection is of no use any more. */
bool connection_send(struct connection *connection, Hakmem__ProgramRequest *request,
                     uint64_t *n_syscalls);

enum connection_receipt {
    CONNECTION_REPLY, /* the next reply, valid until the next call; descriptors are the caller's */
    CONNECTION_NOTHING, /* no packet there */
    CONNECTION_CLOSED,  /* by the daemon */
    CONNECTION_BROKEN,  /* it sent what is no reply, or the descriptor is not ours any more */
};
enum connection_receipt connection_receive(struct connection *connection,
                                           Hakmem__ProgramReply **reply, int fds[CONN_MAX_FDS],
                                           size_t *n_fds, uint64_t *n_syscalls);

/* Waits until something is there to be received. False: the deadline has passed. A signal does not
 * prolong the wait. Deadlines are glue_now_ns()'s. */
bool connection_wait(struct connection *connection, uint64_t deadline_ns, uint64_t *n_syscalls);

#endif
