/*
 * Who has connected, as only the kernel can say: by the socket, so that it is true of the very
 * process, whoever has its number since. No state; no logging.
 */
#ifndef HAKMEMD_PEERID_H
#define HAKMEMD_PEERID_H

#include <stdbool.h>
#include <stdint.h>

/* 0 and a pidfd of the process that connected, which need not live any more, and which is the
 * caller's; or a negative errno (-ENOPROTOOPT: before Linux 6.5). */
int peerid_pidfd(int socket, int *pidfd_out);

/*
 * The number of the control group of version 2 that the process is in now: no other group has had
 * it or will have it, and it is the inode's of the group's folder. 0: not to be known.
 * (PIDFD_GET_INFO, Linux 6.13. Half of what it takes to open and read /proc/PID/cgroup.)
 */
uint64_t peerid_cgroup(int socket);

/* Does the kernel tell these at all? */
bool peerid_has_pidfds(void);
bool peerid_has_cgroups(void);

#endif
