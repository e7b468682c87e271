/*
 * hakmemctl run -- COMMAND: the command with libhakmem for its malloc.
 *
 * With a daemon at the socket hakmemctl sets the environment and becomes the command. Without one
 * it starts a private daemon, runs the command as a child, hands signals and the exit status
 * through, and takes the daemon away again.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hakmemctl/command.h"
#include "hakmemctl/locate.h"
#include "hakmemctl/private-daemon.h"
#include "hakmemctl/session.h"

/* As env(1), nice(1) and the shells have it. */
#define EXIT_CANNOT_EXEC 126
#define EXIT_NOT_FOUND   127

/* What a terminal, a user or a manager may send us and means for the command. */
static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

/* Puts the library in front of what is preloaded already. 0, or a negative errno. */
static int preload(const char *library)
{
    const char *before = getenv("LD_PRELOAD");
    if (!before || !before[0])
        return setenv("LD_PRELOAD", library, 1) < 0 ? -errno : 0;
    char *value;
    if (asprintf(&value, "%s:%s", library, before) < 0)
        return -ENOMEM;
    int r = setenv("LD_PRELOAD", value, 1) < 0 ? -errno : 0;
    free(value);
    return r;
}

static int set_library(void)
{
    char library[PATH_MAX];
    if (locate_library(library) < 0) {
        const char *given = getenv("HAKMEM_LIBRARY");
        if (given && given[0])
            fprintf(stderr, "hakmemctl: run: HAKMEM_LIBRARY=%s: no such file\n", given);
        else
            fputs("hakmemctl: run: libhakmem.so is not installed; HAKMEM_LIBRARY can name it\n",
                  stderr);
        return CTL_FAILED;
    }
    /* The dynamic linker splits LD_PRELOAD at both. */
    if (strpbrk(library, ": ")) {
        fprintf(stderr,
                "hakmemctl: run: no library can be preloaded from a path with a blank or "
                "a colon: %s\n",
                library);
        return CTL_FAILED;
    }
    if (preload(library) < 0) {
        fputs("hakmemctl: out of memory\n", stderr);
        return CTL_FAILED;
    }
    return CTL_OK;
}

/* The library may be used from another working directory than ours. */
static int set_socket(const char *path)
{
    char *absolute = NULL;
    if (path[0] != '/') {
        char *here = getcwd(NULL, 0);
        if (!here || asprintf(&absolute, "%s/%s", here, path) < 0)
            absolute = NULL;
        free(here);
        if (!absolute)
            return CTL_FAILED;
    }
    int r = setenv("HAKMEM_SOCKET", absolute ? absolute : path, 1);
    free(absolute);
    return r < 0 ? CTL_FAILED : CTL_OK;
}

/* Becomes the command; comes back only with an exit status for the failure. */
static int execute(char **argv)
{
    execvp(argv[0], argv);
    int error = errno;
    fprintf(stderr, "hakmemctl: run: %s: %s\n", argv[0], strerror(error));
    return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC;
}

/*
 * Waits for the command's end and passes signals on. What the terminal sends has gone to the whole
 * foreground group, the command included: only what a process sent to us is for us to forward.
 */
static int supervise(pid_t command, const sigset_t *waited)
{
    for (;;) {
        siginfo_t info;
        int signal_number = sigwaitinfo(waited, &info);
        if (signal_number < 0)
            continue;
        if (signal_number != SIGCHLD) {
            if (info.si_code != SI_KERNEL)
                kill(command, signal_number);
            continue;
        }
        int status;
        if (waitpid(command, &status, WNOHANG) == command)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

/* Runs the command below us until it ends; its exit status, as a shell gives it. */
static int run_child(char **argv, const sigset_t *waited, const sigset_t *mask_before)
{
    fflush(NULL);
    pid_t command = fork();
    if (command < 0) {
        fprintf(stderr, "hakmemctl: run: %s\n", strerror(errno));
        return CTL_FAILED;
    }
    if (command == 0) {
        sigprocmask(SIG_SETMASK, mask_before, NULL);
        _exit(execute(argv));
    }
    return supervise(command, waited);
}

static int run_with_private_daemon(const struct invocation *invocation)
{
    char program[PATH_MAX];
    struct private_daemon daemon = {.pid = 0};
    sigset_t waited, mask_before;

    if (locate_daemon(program) < 0) {
        fprintf(stderr, "hakmemctl: run: no daemon on %s, and no hakmemd to start\n",
                invocation->socket_path);
        return CTL_NOT_RUNNING;
    }
    /* Before the daemon is there: a signal that comes now is dealt with once it can be taken down
     * again. */
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&waited);
    sigaddset(&waited, SIGCHLD);
    for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
        sigaddset(&waited, forwarded[i]);
    sigprocmask(SIG_BLOCK, &waited, &mask_before);

    int r = private_daemon_start(program, invocation->daemon_options, invocation->n_daemon_options,
                                 &daemon);
    if (r < 0) {
        fprintf(stderr, "hakmemctl: run: no daemon on %s, and a private %s did not start%s%s\n",
                invocation->socket_path, program, r == -ECHILD ? "" : ": ",
                r == -ECHILD ? "" : strerror(-r));
        return CTL_NOT_RUNNING;
    }
    fprintf(stderr, "hakmemctl: no daemon on %s: started a private one for this command\n",
            invocation->socket_path);
    int code = set_socket(daemon.socket_path);
    if (code == CTL_OK)
        code = run_child(invocation->arguments, &waited, &mask_before);
    private_daemon_stop(&daemon);
    return code;
}

int cmd_run(const struct invocation *invocation)
{
    struct session *session = NULL;
    int code = set_library();
    if (code != CTL_OK)
        return code;
    int r = session_open(invocation->socket_path, &session);
    session_close(session);
    /* A daemon whose queue is full is there all the same: the library tries again later. */
    if (r < 0 && r != -ETIMEDOUT)
        return run_with_private_daemon(invocation);
    code = set_socket(invocation->socket_path);
    return code == CTL_OK ? execute(invocation->arguments) : code;
}
