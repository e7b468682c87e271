/*
 * One packet with its descriptors over an AF_UNIX SOCK_SEQPACKET socket. Used by both ends.
 *
 * A packet arrives whole or not at all. What does not fit is an error, and every descriptor that
 * came with it is closed.
 */
#ifndef HAKMEM_COMMON_CONN_H
#define HAKMEM_COMMON_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CONN_REQUEST_MAX_BYTES 4096
#define CONN_REPLY_MAX_BYTES   65536
#define CONN_MAX_FDS           16

/* Positive, documented condition of conn_recv(): the peer has closed. */
#define CONN_CLOSED 1

/*
 * Sends one packet. `fds` are borrowed. Never raises SIGPIPE, never blocks (MSG_DONTWAIT).
 * 0, or -EAGAIN (socket full: try again when writable), -ETOOMANYREFS (in-flight descriptors),
 * -EPIPE, -ECONNRESET, -EMSGSIZE, -EINVAL (n_fds > CONN_MAX_FDS or an empty packet).
 */
int conn_send(int socket, const void *packet, size_t n_bytes, const int *fds, size_t n_fds);

/*
 * Receives one packet of at most `capacity` bytes and at most CONN_MAX_FDS descriptors, which
 * become the caller's, CLOEXEC. Never blocks. 0, or CONN_CLOSED, or -EAGAIN, or -EMSGSIZE (packet
 * or descriptors were cut: descriptors that arrived are closed; the peer is to be disconnected), or
 * another negative errno. Outputs are untouched unless 0 is returned.
 */
int conn_recv(int socket, void *packet, size_t capacity, size_t *n_bytes, int fds[CONN_MAX_FDS],
              size_t *n_fds);

/* Closes each and sets it to -1. */
void conn_close_fds(int *fds, size_t n_fds);

/* A connected, non-blocking, close-on-exec client socket, or a negative errno (-EAGAIN: the
 * listener's queue is full). */
int conn_connect(const char *path, int *socket_out);

/* Descriptor packets that the peer has not read yet: bytes in its queue, or a negative errno. */
ssize_t conn_unread_bytes(int socket);

#endif
