/*
 * Forking at the worst of moments. For whatever allocator this program runs on.
 *
 *   prog-fork-storm MODE N
 *
 *   threads         threads allocate while other threads fork N children in all, which allocate too
 *   signal          a signal handler forks N times, interrupting malloc, free and realloc wherever
 * it hits; of its children every other one goes on with the interrupted call and allocates on
 *   signal-threads  the same with threads that allocate beside it; the children end in the handler
 *   signal-both     signal handlers of two threads fork at the same time, N times; each has most
 * probably interrupted a critical section
 *   signal-fork     a signal handler forks wherever it hits, while the program forks N times
 * itself, each time with new memory in its heap; all children write all over it
 *   signal-block    the same, but that each time the signal comes at the last moment before an
 * allocator has all signals wait
 *   spawn           posix_spawn, vfork, system and popen, beside threads that allocate; then waits
 * for the end of its standard input, so that a test can look at it from outside
 *
 * Every block carries a pattern that is checked before it is freed. Exit 0; 3 corruption; 4
 * deadlock; 5 a child died.
 */
#include "tests/system/random.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    N_SLOTS = 400,
    ALARM_SECONDS = 150,
    EXIT_CORRUPTION = 3,
    EXIT_DEADLOCK = 4,
    EXIT_DIED = 5,
};

struct churn {
    uint64_t random;
    struct {
        unsigned char *bytes;
        size_t n_bytes;
    } slots[N_SLOTS];
};

extern char **environ;

static int done;
static long n_forks, n_ended;
static volatile sig_atomic_t is_child, in_threads;

static void say(const char *line)
{
    (void)!write(1, line, strlen(line));
}

static size_t random_size(uint64_t *random)
{
    uint64_t r = random_next(random) >> 8;
    if (r % 200 == 0)
        return 2500000 + r % 100000;
    if (r % 40 == 0)
        return 70000 + r % 100000;
    return 9 + (r >> 8) % (r % 8 ? 600 : 5000);
}

static void set(struct churn *c, size_t i, unsigned char *bytes, size_t n)
{
    memset(bytes, (int)(n ^ i), n < 10000 ? n : 10000);
    bytes[n / 2] = bytes[n - 1] = (unsigned char)(n ^ i);
    c->slots[i].n_bytes = n;
    c->slots[i].bytes = bytes;
}

/* One step of the life of a heap: what is in a random slot is checked and freed, or something new
 * comes into it. */
static void churn_step(struct churn *c)
{
    size_t i = random_next(&c->random) % N_SLOTS;
    unsigned char *bytes = c->slots[i].bytes;
    size_t n = c->slots[i].n_bytes;
    if (bytes) {
        unsigned char tag = (unsigned char)(n ^ i);
        if (bytes[0] != tag || bytes[n / 2] != tag || bytes[n - 1] != tag) {
            say("corruption: a block has changed\n");
            _exit(EXIT_CORRUPTION);
        }
        if (random_next(&c->random) % 4 == 0) {
            /* Grows, moves or shrinks; what it held comes along. */
            size_t n_new =
                n > 1000000 ? (n / 2) * (1 + random_next(&c->random) % 4) : random_size(&c->random);
            bytes = realloc(bytes, n_new);
            if (!bytes)
                _exit(EXIT_DIED);
            if (bytes[0] != tag || (n_new > n && bytes[n - 1] != tag)) {
                say("corruption: a block has changed in realloc\n");
                _exit(EXIT_CORRUPTION);
            }
            if (n_new > 12000000)
                bytes = realloc(bytes, n_new = 2500000);
            set(c, i, bytes, n_new);
            return;
        }
        c->slots[i].bytes = NULL;
        free(bytes);
        return;
    }
    n = random_size(&c->random);
    bytes = malloc(n);
    if (!bytes)
        _exit(EXIT_DIED);
    set(c, i, bytes, n);
}

/* The last is for children: what the others hold at a fork may be half written. */
static struct churn churns[3];

static void *churn_main(void *argument)
{
    struct churn *c = argument;
    c->random = (uint64_t)(uintptr_t)c;
    while (!__atomic_load_n(&done, __ATOMIC_RELAXED))
        churn_step(c);
    return NULL;
}

static void alarm_rang(int signal)
{
    (void)signal;
    say("deadlock: the parent does not finish\n");
    _exit(EXIT_DEADLOCK);
}

static void check_status(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (WIFEXITED(status))
        _exit(WEXITSTATUS(status));
    if (WTERMSIG(status) == SIGALRM) {
        say("deadlock: a child does not finish\n");
        _exit(EXIT_DEADLOCK);
    }
    printf("a child died of signal %d\n", WTERMSIG(status));
    fflush(stdout);
    _exit(EXIT_DIED);
}

/* ---- threads ---- */

static void *forker_main(void *argument)
{
    static __thread struct churn *mine;
    mine = calloc(1, sizeof(*mine));
    mine->random = (uint64_t)(uintptr_t)argument + 99;
    while (__atomic_sub_fetch(&n_forks, 1, __ATOMIC_RELAXED) >= 0) {
        for (int i = 0; i < 100; i++)
            churn_step(mine);
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(ALARM_SECONDS / 2);
            for (int i = 0; i < 2000; i++)
                churn_step(mine);
            /* A child of a threaded parent may become threaded itself. */
            pthread_t thread;
            if (pthread_create(&thread, NULL, churn_main, &churns[2]))
                _exit(EXIT_DIED);
            for (int i = 0; i < 500; i++)
                churn_step(mine);
            __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
            pthread_join(thread, NULL);
            exit(0);
        }
        int status;
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            _exit(EXIT_DIED);
        check_status(status);
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t forkers[3];
    for (size_t i = 0; i < 3; i++)
        pthread_create(&forkers[i], NULL, forker_main, (void *)i);
    for (size_t i = 0; i < 3; i++)
        pthread_join(forkers[i], NULL);
}

/* ---- signal ---- */

static void timer_rang(int signal)
{
    int saved = errno;
    (void)signal;
    if (n_forks > 0) {
        n_forks--;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(ALARM_SECONDS / 2);
            if (in_threads || n_forks % 2)
                _exit(0);
            is_child = 1;
        } else if (pid < 0) {
            say("fork fails in a signal handler\n");
            _exit(EXIT_DIED);
        }
    }
    errno = saved;
}

static void test_signal(void)
{
    static struct churn mine = {.random = 5};
    struct sigaction action = {.sa_handler = timer_rang, .sa_flags = SA_RESTART};
    sigaction(SIGVTALRM, &action, NULL);
    struct itimerval timer = {.it_interval = {.tv_usec = 3000}, .it_value = {.tv_usec = 3000}};
    long n_expected = n_forks;
    setitimer(ITIMER_VIRTUAL, &timer, NULL);
    while (n_ended < n_expected) {
        for (int i = 0; i < 100; i++)
            churn_step(&mine);
        if (is_child) {
            for (int i = 0; i < 3000; i++)
                churn_step(&mine);
            _exit(0);
        }
        int status;
        while (waitpid(-1, &status, WNOHANG) > 0) {
            check_status(status);
            n_ended++;
        }
    }
    struct itimerval never = {0};
    setitimer(ITIMER_VIRTUAL, &never, NULL);
}

/* ---- signal-fork ---- */

enum { N_PIECES = 600, PIECE_BYTES = 60000, N_FRESH = 100 };
static unsigned char *pieces[N_PIECES];
static size_t n_pieces;
static int n_from_handler, n_alive, may_fork;

static void overwrite(void)
{
    for (size_t i = 0; i < n_pieces; i++) {
        for (size_t at = 0; at < PIECE_BYTES; at += 1000)
            pieces[i][at] = 0xee;
    }
}

static void rang_in_fork(int signal)
{
    int saved = errno;
    (void)signal;
    if (may_fork > 0) {
        may_fork--;
        pid_t pid = fork();
        if (pid == 0) {
            overwrite();
            _exit(0);
        }
        n_from_handler += pid > 0;
        n_alive += pid > 0;
    }
    errno = saved;
}

/* Sends the signal until it is killed, or its parent is gone. */
static pid_t start_sender(void)
{
    char *arguments[] = {"prog-fork-storm", "send", "0", NULL};
    pid_t pid;
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ))
        _exit(EXIT_DIED);
    return pid;
}

static void check_pieces(void)
{
    for (size_t i = 0; i < n_pieces; i++) {
        for (size_t at = 0; at < PIECE_BYTES; at += 1000) {
            if (pieces[i][at] != i % 100) {
                say("corruption: a child's write shows in its parent\n");
                _exit(EXIT_CORRUPTION);
            }
        }
    }
}

/* The signal that comes at the last moment. */
static int comes_before_block;

int pthread_sigmask(int how, const sigset_t *set, sigset_t *before)
{
    if (comes_before_block && how == SIG_BLOCK)
        kill(getpid(), SIGUSR1);
    return syscall(SYS_rt_sigprocmask, how, set, before, _NSIG / 8) == 0 ? 0 : errno;
}

static void test_signal_fork(bool any_moment)
{
    struct sigaction action = {.sa_handler = rang_in_fork, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    pid_t sender = any_moment ? start_sender() : 0;
    comes_before_block = !any_moment;
    for (long i = 0; i < n_forks; i++) {
        /* New leases, for this fork to convert. */
        size_t n_new = n_pieces + N_FRESH;
        for (; n_pieces < n_new; n_pieces++) {
            pieces[n_pieces] = malloc(PIECE_BYTES);
            if (!pieces[n_pieces])
                _exit(EXIT_DIED);
            memset(pieces[n_pieces], (int)(n_pieces % 100), PIECE_BYTES);
        }
        __atomic_store_n(&may_fork, 2, __ATOMIC_RELAXED);
        pid_t pid = fork();
        if (pid == 0) {
            overwrite();
            _exit(0);
        }
        __atomic_store_n(&may_fork, 0, __ATOMIC_RELAXED);
        if (pid < 0)
            _exit(EXIT_DIED);
        int status;
        for (n_alive++; n_alive > 0;) {
            if (waitpid(-1, &status, 0) > 0) {
                n_alive--;
                check_status(status);
            }
        }
        check_pieces();
        if (n_pieces == N_PIECES) {
            for (; n_pieces > 0; n_pieces--)
                free(pieces[n_pieces - 1]);
        }
    }
    if (sender > 0) {
        kill(sender, SIGKILL);
        waitpid(sender, NULL, 0);
    }
    if (n_from_handler == 0) {
        say("no signal came during a fork\n");
        _exit(EXIT_DIED);
    }
}

static int send_signals(void)
{
    pid_t to = getppid();
    while (getppid() == to && kill(to, SIGUSR1) == 0)
        usleep(50);
    return 0;
}

/* ---- signal-both ---- */

static int n_in_handlers, n_rounds;
static __thread int is_forking_both __attribute__((tls_model("initial-exec")));

/* Not before the other one is in its handler, too, if it comes. */
static void rang_in_both(int signal)
{
    int saved = errno;
    (void)signal;
    if (is_forking_both)
        return;
    is_forking_both = 1;
    int round = __atomic_add_fetch(&n_in_handlers, 1, __ATOMIC_SEQ_CST);
    for (int i = 0;
         i < 100 && __atomic_load_n(&n_in_handlers, __ATOMIC_SEQ_CST) < (round + 1) / 2 * 2; i++)
        usleep(100);
    pid_t pid = fork();
    if (pid == 0) {
        check_pieces();
        overwrite();
        _exit(0);
    }
    int status;
    if (pid < 0)
        _exit(EXIT_DIED);
    while (waitpid(pid, &status, 0) != pid)
        ;
    check_status(status);
    __atomic_add_fetch(&n_rounds, 1, __ATOMIC_SEQ_CST);
    is_forking_both = 0;
    errno = saved;
}

/* Each of these is mostly within a critical section, of different parts of an allocator. */
static void *trim_main(void *argument)
{
    void *blocks[64];
    (void)argument;
    while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
        for (size_t i = 0; i < 64; i++)
            blocks[i] = memset(malloc(40000 + i * 2000), 1, 4096);
        for (size_t i = 0; i < 64; i += 2)
            free(blocks[i]);
        for (int i = 0; i < 10; i++)
            malloc_trim(0);
        for (size_t i = 1; i < 64; i += 2)
            free(blocks[i]);
    }
    return NULL;
}

static void *grow_main(void *argument)
{
    (void)argument;
    while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
        void *block = NULL;
        for (size_t n = 3000000; n < 60000000; n += 2500000)
            block = realloc(block, n);
        free(block);
    }
    return NULL;
}

static void test_signal_both(void)
{
    struct sigaction action = {.sa_handler = rang_in_both, .sa_flags = SA_RESTART};
    pthread_t threads[2];
    sigaction(SIGUSR1, &action, NULL);
    for (; n_pieces < N_FRESH; n_pieces++) {
        pieces[n_pieces] = malloc(PIECE_BYTES);
        memset(pieces[n_pieces], (int)(n_pieces % 100), PIECE_BYTES);
    }
    pthread_create(&threads[0], NULL, trim_main, NULL);
    pthread_create(&threads[1], NULL, grow_main, NULL);
    for (long i = 0; i < n_forks; i++) {
        int before = __atomic_load_n(&n_rounds, __ATOMIC_SEQ_CST);
        pthread_kill(threads[0], SIGUSR1);
        pthread_kill(threads[1], SIGUSR1);
        while (__atomic_load_n(&n_rounds, __ATOMIC_SEQ_CST) < before + 2)
            usleep(100);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    check_pieces();
}

/* ---- spawn ---- */

static void spawn_once(long i)
{
    char *arguments[] = {"true", NULL};
    pid_t pid;
    int status;
    switch (i % 4) {
    case 0:
        if (posix_spawnp(&pid, "true", NULL, NULL, arguments, environ) ||
            waitpid(pid, &status, 0) != pid)
            _exit(EXIT_DIED);
        check_status(status);
        break;
    case 1:
        pid = vfork();
        if (pid == 0) {
            execvp("true", arguments);
            _exit(127);
        }
        if (waitpid(pid, &status, 0) != pid)
            _exit(EXIT_DIED);
        check_status(status);
        break;
    case 2:
        check_status(system("true"));
        break;
    default: {
        char line[16] = "";
        FILE *stream = popen("echo hello", "r");
        if (!stream || !fgets(line, sizeof(line), stream) || strcmp(line, "hello\n"))
            _exit(EXIT_DIED);
        check_status(pclose(stream));
    }
    }
}

static void test_spawn(void)
{
    static struct churn mine = {.random = 5};
    for (long i = 0; i < n_forks; i++) {
        spawn_once(i);
        for (int j = 0; j < 100; j++)
            churn_step(&mine);
    }
    say("spawned\n");
    char byte;
    while (read(0, &byte, 1) > 0)
        ;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr,
                "usage: %s "
                "threads|signal|signal-threads|signal-both|signal-fork|signal-block|spawn N\n",
                argv[0]);
        return 2;
    }
    const char *mode = argv[1];
    if (strcmp(mode, "send") == 0)
        return send_signals();
    n_forks = atol(argv[2]);
    signal(SIGALRM, alarm_rang);
    alarm(ALARM_SECONDS);
    in_threads = strcmp(mode, "signal") != 0 && strcmp(mode, "signal-fork") != 0 &&
                 strcmp(mode, "signal-block") != 0 && strcmp(mode, "signal-both") != 0;

    pthread_t threads[2];
    sigset_t all, before;
    sigfillset(&all);
    sigdelset(&all, SIGALRM);
    /* The timer's signal is for the main thread. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (size_t i = 0; in_threads && i < 2; i++)
        pthread_create(&threads[i], NULL, churn_main, &churns[i]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    if (strcmp(mode, "threads") == 0)
        test_threads();
    else if (strcmp(mode, "signal") == 0 || strcmp(mode, "signal-threads") == 0)
        test_signal();
    else if (strcmp(mode, "signal-fork") == 0)
        test_signal_fork(true);
    else if (strcmp(mode, "signal-block") == 0)
        test_signal_fork(false);
    else if (strcmp(mode, "signal-both") == 0)
        test_signal_both();
    else if (strcmp(mode, "spawn") == 0)
        test_spawn();
    else
        return 2;
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; in_threads && i < 2; i++)
        pthread_join(threads[i], NULL);
    say("ok\n");
    return 0;
}
