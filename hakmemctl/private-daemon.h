/*
 * A hakmemd of one's own: for `hakmemctl run` where the host has none. It lives in a private
 * directory with its socket, and ends with us.
 */
#ifndef HAKMEM_CTL_PRIVATE_DAEMON_H
#define HAKMEM_CTL_PRIVATE_DAEMON_H

#include <stddef.h>
#include <sys/types.h>

#define PRIVATE_DAEMON_PATH_BYTES 108 /* what fits into a socket's address */

struct private_daemon {
    pid_t pid; /* 0: none */
    char directory[PRIVATE_DAEMON_PATH_BYTES];
    char socket_path[PRIVATE_DAEMON_PATH_BYTES];
};

/*
 * Starts `program` with the -o options (borrowed) and waits until it says that it is ready. 0, or a
 * negative errno: -ETIMEDOUT (not ready in time), -ECHILD (it died; its last words have been copied
 * to stderr), or another. On failure nothing is left behind.
 */
int private_daemon_start(const char *program, const char *const *options, size_t n_options,
                         struct private_daemon *daemon_out);

/*
 * Stops it, by force if it does not go, and removes its directory. If it had died on its own
 * account its last words go to stderr. Does nothing if there is none.
 */
void private_daemon_stop(struct private_daemon *daemon);

#endif
