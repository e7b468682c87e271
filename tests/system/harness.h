/*
 * What the system tests share: a private daemon, its figures, child processes, and requirements
 * that also hold in children.
 *
 * Everything waits for an event with a deadline; nothing sleeps. A requirement that fails ends the
 * cmocka test, or, in a child process, the child with status HARNESS_CHILD_FAILED.
 */
#ifndef HAKMEM_TESTS_HARNESS_H
#define HAKMEM_TESTS_HARNESS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/superslab.h"
#include "hakmem.pb-c.h"

#ifdef __SANITIZE_THREAD__
#define HARNESS_PATIENCE_MS 40000
#else
#define HARNESS_PATIENCE_MS 10000
#endif
#define HARNESS_CHILD_FAILED 99
#define MIB                  ((uint64_t)1 << 20)

/* ---- requirements ---- */

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            harness_fail(__FILE__, __LINE__, #condition);                                          \
    } while (0)

#define require_equal(a, b)                                                                        \
    harness_require_equal(__FILE__, __LINE__, #a, (uint64_t)(a), (uint64_t)(b))

_Noreturn void harness_fail(const char *file, int line, const char *what);
void harness_require_equal(const char *file, int line, const char *what, uint64_t a, uint64_t b);

uint64_t harness_now_ns(void);
/* Milliseconds from now on until patience ends, as a deadline for harness_is_late(). */
uint64_t harness_deadline(void);
bool harness_is_late(uint64_t deadline);
/* A moment, between two looks at something that has no event to wait for. */
void harness_pause(void);

/* ---- the daemon ---- */

#define DAEMON_MAX_OPTIONS 24

struct daemon {
    char dir[64];
    char socket_path[96];
    char config_path[96];
    char log_path[96];
    char notify_path[96];
    const char *options[DAEMON_MAX_OPTIONS]; /* section.key=value, borrowed */
    size_t n_options;
    unsigned n_descriptors; /* its RLIMIT_NOFILE, or 0: as ours */
    pid_t pid;              /* -1: not running */
    int notify_socket;
    int control_socket;           /* for stats_get(), or -1 */
    pid_t control_pid;            /* whose it is: a child makes its own */
    bool is_stopping;             /* it said STOPPING=1 */
    void (*in_child)(void *data); /* called before its exec, or NULL */
    void *in_child_data;
};

/* A private folder (open to other users) with an empty configuration. */
void daemon_init(struct daemon *daemon);
/* Kills it if it runs; removes the folder. */
void daemon_deinit(struct daemon *daemon);

/* Sets the options for daemon_start(): "section.key=value"..., NULL. */
void daemon_configure(struct daemon *daemon, ...) __attribute__((sentinel));
/* Replaces the configuration file. */
void daemon_write_config(struct daemon *daemon, const char *text);

/* Starts it and waits for READY=1. */
void daemon_start(struct daemon *daemon);
/* Starts it, with further arguments (NULL-terminated), and does not wait. */
void daemon_spawn(struct daemon *daemon, const char *const *arguments);
void daemon_wait_ready(struct daemon *daemon);
/* Waits for a notification that begins so. */
void daemon_wait_notified(struct daemon *daemon, const char *prefix);
void daemon_signal(struct daemon *daemon, int signal_number);
/* Waits for its end; the status as of waitpid(). */
int daemon_wait_exit(struct daemon *daemon);
/* SIGKILL, and waits. */
void daemon_kill(struct daemon *daemon);
/* Requires that it still runs. */
void daemon_require_alive(struct daemon *daemon);
/* What it has logged so far; valid until the next call. */
const char *daemon_log(const struct daemon *daemon);
/* Waits until it has logged this. */
void daemon_wait_logged(const struct daemon *daemon, const char *text);

/* Path of an artifact in $BUILD; valid until the next call. */
const char *harness_artifact(const char *name);

/* Of its descriptors, those by which it watches its peers' processes: each peer's half a second
 * after it has come. */
int daemon_n_pidfds(const struct daemon *daemon);
int daemon_n_fds(const struct daemon *daemon);
/* A figure of /proc/PID/status in kB, e.g. "RssAnon". */
uint64_t daemon_status_kb(const struct daemon *daemon, const char *key);

/*
 * A cmocka fixture: *state is a running daemon with these options ("section.key=value"..., NULL),
 * or one that is only prepared; and its end.
 */
int daemon_setup(void **state, const char *const *options, bool is_started);
int daemon_teardown(void **state);

/* ---- figures ---- */

/* Asks for the figures; requires that every extent is accounted for. */
void stats_get(struct daemon *daemon, Hakmem__StatsReply *stats);
void stats_print(const Hakmem__StatsReply *stats);
/* No clients, nothing leased, orphaned or being scrubbed. */
bool stats_are_quiet(const Hakmem__StatsReply *stats);

/* Asks again and again until the condition, which looks at *stats, holds. */
#define stats_until(daemon, stats, condition)                                                      \
    do {                                                                                           \
        uint64_t stats_deadline = harness_deadline();                                              \
        for (stats_get((daemon), (stats)); !(condition); stats_get((daemon), (stats))) {           \
            if (harness_is_late(stats_deadline)) {                                                 \
                stats_print(stats);                                                                \
                harness_fail(__FILE__, __LINE__, "in time: " #condition);                          \
            }                                                                                      \
            harness_pause();                                                                       \
        }                                                                                          \
    } while (0)

/* ---- processes ---- */

/* fork(); the child dies with the test. */
pid_t harness_fork(void);
/* Waits for the child and requires that it exited with 0. */
void harness_join(pid_t child);
/* Waits; the status as of waitpid(). */
int harness_wait(pid_t child);
/* In a child: becomes this user for good. */
void harness_become(uid_t uid);
/* Skips the test where other users cannot be tried. */
void harness_need_root(void);

#endif
