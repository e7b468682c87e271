/*
 * One control connection to hakmemd: a request, its reply, a time-out.
 *
 * A control peer says no Hello and owns no memory, so nothing is left behind when it goes away. Not
 * thread-safe.
 */
#ifndef HAKMEM_CTL_SESSION_H
#define HAKMEM_CTL_SESSION_H

#include <stddef.h>

#include "common/conn.h"
#include "proto/wire.h"

/* A daemon whose event loop does not answer for so long is as good as gone. */
#define SESSION_TIMEOUT_MS 5000

struct session;

/*
 * Connects. 0 and a session to be closed by the caller, or -ENOENT or -ECONNREFUSED (nobody
 * listens), -EACCES or -EPERM, -ETIMEDOUT (the listener's queue stayed full), or another negative
 * errno.
 */
int session_open(const char *path, struct session **session_out);

/*
 * Sends the request (its id is set here) and waits for its reply, which lives until the next call.
 * An error that the daemon answers with is a reply like any other. 0, or -ETIMEDOUT, -ECONNRESET
 * (the daemon closed), -EBADMSG (a reply that is none, or to another request), or another negative
 * errno.
 */
int session_ask(struct session *session, Hakmem__Request *request, Hakmem__Reply **reply_out);

/*
 * Moves the descriptors that came with the last reply to the caller; without this call they are
 * closed by the next session_ask() and by session_close().
 */
void session_take_fds(struct session *session, int fds[CONN_MAX_FDS], size_t *n_fds);

/* NULL is allowed. */
void session_close(struct session *session);

#endif
