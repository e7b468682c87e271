/*
 * Words to the service manager, as sd_notify(3), but never waiting for it: the library's blocks
 * when the manager does not read, and the loop must not. A word that does not fit is lost.
 */
#ifndef HAKMEMD_NOTIFY_H
#define HAKMEMD_NOTIFY_H

/* "READY=1" and the like. Without $NOTIFY_SOCKET nothing is sent. */
void notify_manager(const char *state);

#endif
