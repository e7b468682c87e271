/*
 * A parent that rewrites its heap beneath children that read their snapshots of it, in all the ways
 * in which somebody could still need a page that the parent has copied. For whatever allocator this
 * program runs on; it says what it holds, so that a test can compare.
 *
 *   prog-fork-bound MODE N_ROUNDS HEAP_BYTES
 *
 * In each round a child is made, the parent rewrites its heap, all of it unless said otherwise, and
 * the child checks what it inherited: twice, before and after. MODE:
 *
 *   whole      one child at a time
 *   scattered  the same; the parent rewrites pages here and there, a third of them
 *   few        the same; the parent rewrites the first quarter only
 *   overlap    children live for three rounds: there is always one
 *   nested     the child makes a child and ends; its child lives for three rounds
 *   deep       a chain of three processes, each of which rewrites its heap beneath its child
 *   survivor   the child lives on when its parent is gone, beneath a child of its own
 *   exec       the child executes another program, which lives for a round; vfork and posix_spawn
 *              by turns with fork; beside a snapshot that lives through it all
 *   raw        children by the bare system call, beside ordinary ones
 *   early      one child by the bare system call before any fork: it shares the heap, so that it
 *              may see either value of a word, but never anything else
 *   closing    the program closes all descriptors from 3 on, in the first round and later
 *   trim       malloc_trim() all the time, in a thread
 *   busy       one child at a time; after the last no fork, but small blocks come and go, for a few
 *              seconds, within the spans that there are
 *
 * After the last round, when all children are gone and (but for "busy") there was one more fork, it
 * writes "settled", its RssAnon and the heap's size, in bytes, and waits for the end of its
 * standard input. Exit 0; 3 corruption; 5 a child died.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 8000,
    STEP_WORDS = 64, /* between two words that are written and checked */
    MAX_ALIVE = 8,
    N_SMALL = 8000,
    SMALL_BYTES = 100,
    BUSY_SECONDS = 3, /* the library looks once a second */
    ALARM_SECONDS = 150,
    EXIT_CORRUPTION = 3,
    EXIT_DIED = 5,
};

extern char **environ;

static uint64_t **blocks;
static uint32_t *generations; /* of each block's contents */
static size_t n_blocks;
static uint64_t state = 88172645463325252;
static int done;

static uint64_t random_next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void die(const char *what)
{
    fprintf(stderr, "prog-fork-bound: %s: %s\n", what, strerror(errno));
    _exit(EXIT_DIED);
}

static void write_block(size_t i)
{
    generations[i]++;
    for (size_t w = 0; w < BLOCK_BYTES / 8; w += STEP_WORDS)
        blocks[i][w] = (uint64_t)generations[i] << 32 | (i ^ w);
}

/* No stdio: a child of a bare system call may not use it. */
static void check_all(const char *who)
{
    for (size_t i = 0; i < n_blocks; i++) {
        for (size_t w = 0; w < BLOCK_BYTES / 8; w += STEP_WORDS) {
            if (blocks[i][w] == ((uint64_t)generations[i] << 32 | (i ^ w)))
                continue;
            char line[160];
            int n =
                snprintf(line, sizeof(line), "corruption: %s: block %zu word %zu: %llx, not %llx\n",
                         who, i, w, (unsigned long long)blocks[i][w],
                         (unsigned long long)generations[i] << 32 | (i ^ w));
            (void)!write(2, line, (size_t)n);
            _exit(EXIT_CORRUPTION);
        }
    }
}

/* Whatever the parent has written in the meantime: words of this heap. */
static void check_shared(void)
{
    for (size_t i = 0; i < n_blocks; i++) {
        for (size_t w = 0; w < BLOCK_BYTES / 8; w += STEP_WORDS) {
            if ((uint32_t)blocks[i][w] == (uint32_t)(i ^ w) && blocks[i][w] >> 32 != 0)
                continue;
            static const char line[] = "corruption: an early child finds what nobody has written\n";
            (void)!write(2, line, sizeof(line) - 1);
            _exit(EXIT_CORRUPTION);
        }
    }
}

static void rewrite(const char *mode)
{
    bool is_scattered = strcmp(mode, "scattered") == 0;
    size_t n = strcmp(mode, "few") == 0 ? n_blocks / 4 : n_blocks;
    for (size_t i = 0; i < n; i++) {
        if (!is_scattered || random_next() % 3 == 0)
            write_block(i);
    }
}

/* ---- children: each waits for the end of its pipe ---- */

struct child {
    pid_t pid;
    int hold;
};

static void wait_for(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            die("waitpid");
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    fprintf(stderr, "prog-fork-bound: a child's status is %x\n", status);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_DIED);
}

static void let_go(struct child *child)
{
    close(child->hold);
    wait_for(child->pid);
}

static void wait_for_end(int fd)
{
    char byte;
    while (read(fd, &byte, 1) > 0 || errno == EINTR)
        ;
}

static pid_t plain_fork(void)
{
    return fork();
}
static pid_t raw_fork(void)
{
    return (pid_t)syscall(SYS_fork);
}

/* A child that reads its snapshot now and when it is let go. `depth`: it makes a child and leaves
 * that to it. `hold` of the former ones must not stay open in it. */
static struct child snapshot(pid_t (*make)(void), unsigned depth, const int *others,
                             size_t n_others)
{
    int pipe_fds[2], up_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) || pipe2(up_fds, O_CLOEXEC))
        die("pipe");
    pid_t pid = make();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        alarm(ALARM_SECONDS);
        close(pipe_fds[1]);
        close(up_fds[0]);
        for (size_t i = 0; i < n_others; i++)
            close(others[i]);
        if (depth > 0) {
            pid_t below = make();
            if (below != 0)
                _exit(below < 0 ? EXIT_DIED : 0);
        }
        check_all("a snapshot at first");
        wait_for_end(pipe_fds[0]);
        check_all("a snapshot later");
        (void)!write(up_fds[1], "k", 1);
        _exit(0);
    }
    close(pipe_fds[0]);
    close(up_fds[1]);
    /* Not our child, so its word for it comes through the other pipe. */
    if (depth > 0) {
        wait_for(pid);
        return (struct child){.pid = -up_fds[0], .hold = pipe_fds[1]};
    }
    close(up_fds[0]);
    return (struct child){.pid = pid, .hold = pipe_fds[1]};
}

static void end(struct child *child)
{
    if (child->pid > 0) {
        let_go(child);
        return;
    }
    char byte = 0;
    close(child->hold);
    if (read(-child->pid, &byte, 1) != 1 || byte != 'k') {
        fprintf(stderr, "prog-fork-bound: a grandchild has not found its snapshot whole\n");
        _exit(EXIT_CORRUPTION);
    }
    close(-child->pid);
}

static int holds(const struct child *alive, size_t n, int *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = alive[i].hold;
    return (int)n;
}

/* ---- the modes ---- */

/* Up to `n_alive` children at a time. */
static void rounds(const char *mode, long n_rounds, size_t n_alive, unsigned depth)
{
    struct child alive[MAX_ALIVE];
    int fds[MAX_ALIVE];
    size_t n = 0;
    for (long r = 0; r < n_rounds; r++) {
        bool is_raw = strcmp(mode, "raw") == 0 && r % 2 != 0;
        holds(alive, n, fds);
        alive[n] = snapshot(is_raw ? raw_fork : plain_fork, depth, fds, n);
        n++;
        if (strcmp(mode, "closing") == 0 && r % 3 == 0) {
            int kept[MAX_ALIVE];
            for (size_t i = 0; i < n; i++)
                kept[i] = alive[i].hold;
            for (int fd = 3; fd < 2048; fd++) {
                bool is_kept = false;
                for (size_t i = 0; i < n; i++)
                    is_kept = is_kept || kept[i] == fd;
                if (!is_kept)
                    close(fd);
            }
        }
        if (r > 0 ||
            strcmp(mode, "raw") != 0) /* the raw child must find something not yet copied */
            rewrite(mode);
        if (n == n_alive) {
            end(&alive[0]);
            memmove(alive, alive + 1, (n - 1) * sizeof(alive[0]));
            n--;
        }
    }
    for (size_t i = 0; i < n; i++)
        end(&alive[i]);
}

/* Each process of the chain rewrites its heap beneath its child, several times. */
static void deep(long n_rounds, unsigned depth)
{
    for (long r = 0; r < n_rounds; r++) {
        struct child child = snapshot(plain_fork, 0, NULL, 0);
        rewrite("whole");
        if (depth > 0) {
            pid_t pid = fork();
            if (pid == 0) {
                close(child.hold);
                check_all("a process of the chain");
                deep(1, depth - 1);
                check_all("a process of the chain, later");
                _exit(0);
            }
            rewrite("whole");
            wait_for(pid);
        }
        let_go(&child);
    }
}

static void survivor(long n_rounds)
{
    for (long r = 0; r < n_rounds; r++) {
        int up[2];
        if (pipe2(up, O_CLOEXEC))
            die("pipe");
        pid_t middle = fork();
        if (middle == 0) {
            rewrite("whole");
            pid_t pid = fork();
            if (pid != 0) {
                rewrite("whole");
                _exit(0); /* its child lives on */
            }
            check_all("a survivor at first");
            close(up[0]);
            deep(2, 0);
            check_all("a survivor");
            (void)!write(up[1], "k", 1);
            _exit(0);
        }
        close(up[1]);
        wait_for(middle);
        deep(2, 0); /* beside it */
        char byte = 0;
        if (read(up[0], &byte, 1) != 1)
            _exit(EXIT_CORRUPTION);
        /* The end of the pipe: it has exited, and an exit lets go of memory before descriptors. */
        (void)!read(up[0], &byte, 1);
        close(up[0]);
        deep(1, 0); /* a fork to give back at */
    }
}

static void early(long n_rounds)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC))
        die("pipe");
    pid_t pid = raw_fork();
    if (pid == 0) {
        close(fds[1]);
        check_shared();
        wait_for_end(fds[0]);
        check_shared();
        _exit(0);
    }
    for (long r = 0; r < n_rounds; r++) {
        pid_t other = fork();
        if (other == 0)
            _exit(0);
        wait_for(other);
        rewrite("whole");
    }
    malloc_trim(0);
    close(fds[0]);
    close(fds[1]);
    wait_for(pid);
}

static pid_t run_sleeper(long r, int read_end, int write_end)
{
    /* Lives until its standard input ends. */
    char *arguments[] = {"cat", NULL};
    pid_t pid;
    posix_spawn_file_actions_t actions;
    switch (r % 3) {
    case 0:
        pid = fork();
        break;
    case 1:
        pid = vfork();
        break;
    default:
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, read_end, 0);
        posix_spawn_file_actions_addclose(&actions, write_end);
        if (posix_spawnp(&pid, "cat", &actions, NULL, arguments, environ))
            die("posix_spawn");
        posix_spawn_file_actions_destroy(&actions);
        return pid;
    }
    if (pid == 0) {
        dup2(read_end, 0);
        close(write_end);
        execvp("cat", arguments);
        _exit(127);
    }
    return pid;
}

static void execs(long n_rounds)
{
    for (long r = 0; r < n_rounds; r++) {
        int fds[2];
        struct child child = snapshot(plain_fork, 0, NULL, 0);
        if (pipe2(fds, O_CLOEXEC))
            die("pipe");
        pid_t pid = run_sleeper(r, fds[0], fds[1]);
        rewrite("whole");
        if (r % 2) { /* the snapshot goes first, or the program */
            let_go(&child);
            struct child other = snapshot(plain_fork, 0, NULL, 0);
            rewrite("whole");
            let_go(&other);
        }
        close(fds[0]);
        close(fds[1]);
        wait_for(pid);
        if (r % 2 == 0)
            let_go(&child);
    }
}

/* Every other of these comes and goes; those between keep the spans from getting empty. */
static void **hold_small_blocks(void)
{
    static void *small[N_SMALL];
    for (size_t i = 0; i < N_SMALL; i++) {
        small[i] = malloc(SMALL_BYTES);
        if (!small[i])
            die("malloc");
    }
    return small;
}
static void be_busy(void **small)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        for (size_t i = 0; i < N_SMALL; i += 2)
            free(small[i]);
        for (size_t i = 0; i < N_SMALL; i += 2)
            small[i] = malloc(SMALL_BYTES);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < BUSY_SECONDS);
}

static void *trimmer(void *argument)
{
    while (!__atomic_load_n(&done, __ATOMIC_RELAXED))
        malloc_trim(0);
    return argument;
}

static long rss_anon_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    long kib = -1;
    while (f && fgets(line, sizeof(line), f))
        sscanf(line, "RssAnon: %ld", &kib);
    if (f)
        fclose(f);
    return kib * 1024;
}

static void run(const char *mode, long n_rounds)
{
    if (strcmp(mode, "overlap") == 0)
        rounds(mode, n_rounds, 3, 0);
    else if (strcmp(mode, "nested") == 0)
        rounds(mode, n_rounds, 3, 1);
    else if (strcmp(mode, "raw") == 0)
        rounds(mode, n_rounds, 2, 0);
    else if (strcmp(mode, "early") == 0)
        early(n_rounds);
    else if (strcmp(mode, "deep") == 0)
        deep(n_rounds, 2);
    else if (strcmp(mode, "survivor") == 0)
        survivor(n_rounds);
    else if (strcmp(mode, "exec") == 0)
        execs(n_rounds);
    else
        rounds(mode, n_rounds, 1, 0);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODE N_ROUNDS HEAP_BYTES\n", argv[0]);
        return 2;
    }
    alarm(ALARM_SECONDS);
    signal(SIGPIPE, SIG_IGN);
    n_blocks = (size_t)atol(argv[3]) / BLOCK_BYTES;
    blocks = calloc(n_blocks, sizeof(*blocks));
    generations = calloc(n_blocks, sizeof(*generations));
    for (size_t i = 0; i < n_blocks; i++) {
        blocks[i] = malloc(BLOCK_BYTES);
        if (!blocks[i])
            die("malloc");
        write_block(i);
    }
    void **small = hold_small_blocks();
    pthread_t thread;
    bool trims = strcmp(argv[1], "trim") == 0;
    if (trims && pthread_create(&thread, NULL, trimmer, NULL))
        die("pthread_create");
    run(argv[1], atol(argv[2]));
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    if (trims)
        pthread_join(thread, NULL);
    if (strcmp(argv[1], "busy") == 0) {
        be_busy(small);
    } else {
        /* What the last round left is seen at this fork. */
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        wait_for(pid);
    }
    check_all("the parent");
    printf("settled %ld %zu\n", rss_anon_bytes(), n_blocks * BLOCK_BYTES);
    fflush(stdout);
    wait_for_end(0);
    return 0;
}
