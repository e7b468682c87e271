/*
 * What a command of hakmemctl is: a row in main.c's table, a function in its own file.
 *
 * hakmemctl never touches a SuperSlab. It asks the daemon, prints the answer, and turns what
 * happened into an exit code.
 */
#ifndef HAKMEM_CTL_COMMAND_H
#define HAKMEM_CTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The exit codes are an interface: scripts tell "not running" from "denied" by them. */
enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_NOT_RUNNING = 3,
    CTL_DENIED = 4,
};

/* Options that only some commands take; a bit each, so that a command's row lists them. */
enum ctl_option {
    OPTION_RESUME = 1 << 0,
    OPTION_UID = 1 << 1,
    OPTION_DAEMON = 1 << 2, /* -o, for the daemon that `run` may start */
};

/* At most so many -o options of `run`. */
#define CTL_MAX_DAEMON_OPTIONS 32

/* The command line, parsed. Strings are borrowed from argv. */
struct invocation {
    const char *socket_path;
    bool json;
    bool resume;
    bool one_user;
    uint32_t uid;
    const char *daemon_options[CTL_MAX_DAEMON_OPTIONS];
    size_t n_daemon_options;
    char **arguments; /* what is left, NULL-terminated */
    int n_arguments;
};

/* Returns an enum ctl_exit (run: the exit status of what it ran). Prints its own errors. */
typedef int command_function(const struct invocation *invocation);

struct command {
    const char *name;
    command_function *run;
    int min_arguments;
    int max_arguments; /* -1: any number, and nothing after the first argument is an option */
    unsigned options;  /* enum ctl_option, or-ed */
    const char *synopsis;
    const char *help;
};

command_function cmd_stats, cmd_clients, cmd_pool, cmd_top, cmd_ping;
command_function cmd_trim, cmd_prewarm, cmd_drain, cmd_quota;
command_function cmd_doctor, cmd_run;

#endif
