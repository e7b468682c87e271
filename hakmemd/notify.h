/*
 * Words to the service manager, as sd_notify(3), but never waiting for it: the library's blocks
 * when the manager does not read, and the loop must not. A word that does not fit is lost.
 */
#ifndef HAKMEMD_NOTIFY_H
#define HAKMEMD_NOTIFY_H

/* "READY=1" and the like. Without $NOTIFY_SOCKET nothing is sent. */
void notify_manager(const char *state);

/*
 * The same with a descriptor (borrowed; -1: none), for what must not be lost: 0, -EAGAIN or
 * -ETOOMANYREFS (the manager has not read what came before: try again), or another negative errno.
 */
int notify_manager_fd(const char *state, int fd);

#endif
