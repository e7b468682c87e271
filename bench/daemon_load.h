/*
 * Work for the daemon's workers, from a process of its own: prewarming, scrubbing and punching at
 * once, without end. What is measured beside it shows what the event loop has to suffer.
 */
#ifndef HAKMEM_BENCH_DAEMON_LOAD_H
#define HAKMEM_BENCH_DAEMON_LOAD_H

#include <sys/types.h>

/* The process, which dies with this one. Needs the right to control the daemon. */
pid_t daemon_load_start(const char *socket_path);
void daemon_load_stop(pid_t load);

#endif
