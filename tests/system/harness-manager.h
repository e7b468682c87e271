/*
 * A service manager for one daemon, as far as the descriptor store goes: keeps what the daemon
 * pushes, within a limit, and starts the daemon again with all of it, as systemd does. It requires
 * of each push what systemd requires: a name that is its own, short, and without ':' or control
 * characters.
 */
#ifndef HAKMEM_TESTS_HARNESS_MANAGER_H
#define HAKMEM_TESTS_HARNESS_MANAGER_H

#include "harness.h"

#define MANAGER_CAPACITY 4096

struct manager {
    struct daemon *daemon; /* its socket, folder and options; the process is ours */
    int listener;          /* -1: the daemon makes its own */
    size_t limit;          /* FileDescriptorStoreMax=; 0: no store is offered */
    size_t n_offered;      /* what $FDSTORE says, mostly the limit */
    size_t n_stored;
    struct {
        char name[256];
        int fd;
    } stored[MANAGER_CAPACITY];
    uint64_t n_pushed, n_removed, n_over_limit;
    bool is_ready;
};

/* A daemon by daemon_init() that does not run. `has_socket`: the manager listens for it. */
void manager_init(struct manager *manager, struct daemon *daemon, size_t limit, bool has_socket);
/* Closes what is stored; ends the daemon. */
void manager_deinit(struct manager *manager);
/* Starts the daemon with what is stored, and waits for READY=1. */
void manager_start(struct manager *manager);
/* Takes in what the daemon has sent, waiting for at most so long. */
void manager_turn(struct manager *manager, int timeout_ms);
/* Sends the signal, serves the daemon until it is gone, takes in what it still sent; the status as
 * of waitpid(). */
int manager_end(struct manager *manager, int signal_number);
/* manager_end() and manager_start(): what systemctl restart (SIGTERM) or a crash comes to. */
void manager_restart(struct manager *manager, int signal_number);
/* Puts a descriptor (consumed) into the store, as a daemon might have. */
void manager_put(struct manager *manager, const char *name, int fd);

/* Serves the daemon until the condition holds. */
#define manager_until(manager, condition)                                                          \
    do {                                                                                           \
        uint64_t manager_deadline = harness_deadline();                                            \
        for (manager_turn((manager), 0); !(condition); manager_turn((manager), 5)) {               \
            if (harness_is_late(manager_deadline)) {                                               \
                fprintf(stderr, "the daemon said:\n%s\n", daemon_log((manager)->daemon));          \
                harness_fail(__FILE__, __LINE__, "in time: " #condition);                          \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#endif
