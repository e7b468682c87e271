/*
 * What a fork must mean to a heap: the child has the contents of that moment, and from then on
 * neither sees what the other writes. For whatever allocator this program runs on.
 *
 *   prog-fork HOW N_FORKS
 *
 * HOW: fork, _Fork, clone (of libc, without CLONE_VM), sys_fork, sys_clone, sys_clone3 (raw system
 * calls).
 *
 * Writer threads rewrite, free and allocate the blocks of a heap of some 40 MiB all the time, and
 * check each block's every word before they touch it. The main thread forks beneath them; every
 * other time the writers stand still for the moment of the fork, so that the child can know each
 * word it must find. A child
 *   - checks what it finds, sums it up, and after the parent has rewritten a good part of the heap
 * sums it up again;
 *   - writes its own mark all over, and finds it untouched later; the parent's writers never see
 * that mark;
 *   - allocates and frees, inherited blocks too; forks a grandchild that does the same (both only
 * after a plain fork: the others leave a child in which nothing but async-signal-safe functions may
 * be called).
 *
 * Exit 0; 3 with a line "corruption: ..."; 4 with "deadlock: ..."; 5 if a child died otherwise. A
 * child that is stopped by SIGSEGV at its first touch of the heap is told of ("fail-stop") and
 * allowed after a raw system call: better than a corrupted parent.
 */
#include "tests/system/random.h"

#include <errno.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    N_WRITERS = 3,
    N_BLOCKS = 3000,
    N_PROGRESS = 800, /* steps of the writers between two looks of a child */
    MAX_CHILDREN = 3, /* at a time */
    MAX_DEPTH = 3,
    ALARM_SECONDS = 150,
    EXIT_CORRUPTION = 3,
    EXIT_DEADLOCK = 4,
    EXIT_DIED = 5,
    MARK_PARENT = 0xa5,
};

struct block {
    uint64_t *words;
    size_t n_words;
    uint32_t generation; /* of the contents, once written */
};

/* Seen by all processes. */
struct shared {
    uint64_t progress; /* steps of the parent's writers */
    uint32_t done;
    uint32_t n_corruptions;
};

static struct shared *shared;
static struct block blocks[N_BLOCKS];
/* Writers hold `steps` for reading during a step, and `replacements` while they free and allocate a
 * block of the table: with the first taken for writing they stand still; with the second they write
 * on, but each block of the table is one. */
static pthread_rwlock_t steps, replacements;
static bool plain_fork;

static uint64_t word_of(unsigned mark, size_t id, uint32_t generation, size_t i)
{
    return (uint64_t)mark << 56 | (uint64_t)id << 40 | (uint64_t)(generation & 0xffffff) << 16 |
           (i & 0xffff);
}

/* Async-signal-safe but for snprintf, which does not allocate for these formats. */
static void corrupted(const char *what, size_t id, const void *at, uint64_t found)
{
    char line[200];
    int n = snprintf(line, sizeof(line), "corruption: %s: block %zu at %p holds %016llx (pid %d)\n",
                     what, id, at, (unsigned long long)found, (int)getpid());
    (void)!write(1, line, (size_t)n);
    __atomic_add_fetch(&shared->n_corruptions, 1, __ATOMIC_RELAXED);
    _exit(EXIT_CORRUPTION);
}

static void fill(struct block *b, unsigned mark, size_t id, uint32_t generation)
{
    for (size_t i = 0; i < b->n_words; i++)
        b->words[i] = word_of(mark, id, generation, i);
}

static void check(const struct block *b, unsigned mark, size_t id, const char *when)
{
    for (size_t i = 0; i < b->n_words; i++)
        if (b->words[i] != word_of(mark, id, b->generation, i))
            corrupted(when, id, &b->words[i], b->words[i]);
}

/* Mostly small, some large, a few whole SuperSlabs and more. */
static size_t random_words(size_t id, uint64_t *random)
{
    uint64_t r = random_next(random) >> 8;
    if (id % 500 == 1)
        return (3 << 20) / 8 + r % 1000;
    if (id % 100 == 2)
        return (100 << 10) / 8 + r % 10000;
    return 4 + r % (id % 10 == 3 ? 2000 : 200);
}

static void block_allocate(struct block *b, size_t id, uint64_t *random)
{
    b->n_words = random_words(id, random);
    uint64_t *words = malloc(b->n_words * sizeof(*words));
    if (!words) {
        puts("out of memory");
        _exit(EXIT_DIED);
    }
    for (size_t i = 0; i < b->n_words; i++)
        words[i] = word_of(MARK_PARENT, id, b->generation, i);
    b->words = words;
}

/* ---- the parent's writers ---- */

static void writer_step(size_t id, uint64_t *random)
{
    struct block *b = &blocks[id];
    check(b, MARK_PARENT, id, "the parent's memory changed");
    if (random_next(random) >> 61 == 0) {
        pthread_rwlock_rdlock(&replacements);
        free(b->words);
        block_allocate(b, id, random);
        pthread_rwlock_unlock(&replacements);
    } else if (b->n_words < 4096 || random_next(random) >> 60 == 0) {
        fill(b, MARK_PARENT, id, b->generation + 1);
        b->generation++;
    }
    __atomic_add_fetch(&shared->progress, 1, __ATOMIC_RELAXED);
}

/* Allocates and frees at the very moment of a fork, too: no lock is held. */
static void writer_churn(uint64_t *random)
{
    void *held[8];
    for (int i = 0; i < 8; i++)
        held[i] = malloc(random_words((size_t)random_next(random) % 100, random) * 8);
    for (int i = 0; i < 8; i++)
        free(held[i]);
}

static void *writer_main(void *argument)
{
    size_t index = (size_t)argument;
    uint64_t random = 77 + index;
    while (!__atomic_load_n(&shared->done, __ATOMIC_RELAXED)) {
        pthread_rwlock_rdlock(&steps);
        for (int i = 0; i < 8; i++)
            writer_step(random_next(&random) % (N_BLOCKS / N_WRITERS) * N_WRITERS + index, &random);
        pthread_rwlock_unlock(&steps);
        writer_churn(&random);
    }
    return NULL;
}

/* ---- a child ---- */

static uint64_t sum_all(void)
{
    uint64_t sum = 0;
    for (size_t id = 0; id < N_BLOCKS; id++)
        for (size_t i = 0; i < blocks[id].n_words; i++)
            sum = sum * 31 + blocks[id].words[i];
    return sum;
}

/* Until the parent's writers have gone on for a while, or have ended. */
static void wait_for_progress(void)
{
    uint64_t seen = __atomic_load_n(&shared->progress, __ATOMIC_RELAXED);
    struct timespec pause = {.tv_nsec = 1000000};
    while (__atomic_load_n(&shared->progress, __ATOMIC_RELAXED) < seen + N_PROGRESS &&
           !__atomic_load_n(&shared->done, __ATOMIC_RELAXED))
        nanosleep(&pause, NULL);
}

/* The child's heap is a heap: allocate, free, inherited blocks too. */
static void child_allocate(unsigned mark)
{
    uint64_t random = mark * 1000003u;
    for (size_t round = 0; round < N_BLOCKS; round++) {
        size_t id = random_next(&random) % N_BLOCKS;
        struct block *b = &blocks[id];
        check(b, mark, id, "the child's own write is gone");
        free(b->words);
        b->n_words = random_words(id, &random);
        b->words = malloc(b->n_words * 8);
        if (!b->words)
            _exit(EXIT_DIED);
        fill(b, mark, id, ++b->generation);
    }
}

static int wait_for_child(pid_t pid);

/* `depth`: how many forks away from the parent. `exact`: nobody wrote at the moment of the fork. */
static void child_main(bool exact, unsigned depth)
{
    unsigned mark = MARK_PARENT + depth;
    alarm(ALARM_SECONDS / 2);
    for (size_t id = 0; exact && id < N_BLOCKS; id++)
        check(&blocks[id], mark - 1, id, "the child's snapshot is wrong");
    uint64_t sum = sum_all();
    wait_for_progress();
    if (sum_all() != sum)
        corrupted("the child's snapshot changed", 0, NULL, sum);

    for (size_t id = 0; id < N_BLOCKS; id++) {
        blocks[id].generation++;
        fill(&blocks[id], mark, id, blocks[id].generation);
    }
    wait_for_progress();
    for (size_t id = 0; id < N_BLOCKS; id++)
        check(&blocks[id], mark, id, "the child's own write changed");
    if (!plain_fork)
        _exit(0);

    child_allocate(mark);
    if (exact && depth < MAX_DEPTH) {
        pid_t pid = fork();
        if (pid == 0)
            child_main(true, depth + 1);
        child_allocate(mark);
        int result = wait_for_child(pid);
        if (result)
            _exit(result);
        for (size_t id = 0; id < N_BLOCKS; id++)
            check(&blocks[id], mark, id, "the child sees its child's write");
    }
    /* By turns with and without the exit handlers. */
    if (getpid() % 2)
        exit(0);
    _exit(0);
}

/* ---- the ways to fork ---- */

static const char *how;
static bool clone_exact;

static int clone_main(void *argument)
{
    (void)argument;
    child_main(clone_exact, 1);
    return 0;
}

static pid_t fork_somehow(bool exact)
{
    static char stack[256 * 1024] __attribute__((aligned(64)));
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    if (strcmp(how, "fork") == 0)
        return fork();
    if (strcmp(how, "_Fork") == 0)
        return _Fork();
    if (strcmp(how, "clone") == 0) {
        clone_exact = exact;
        return clone(clone_main, stack + sizeof(stack), SIGCHLD, NULL);
    }
    if (strcmp(how, "sys_fork") == 0)
        return (pid_t)syscall(SYS_fork);
    if (strcmp(how, "sys_clone") == 0)
        return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (strcmp(how, "sys_clone3") == 0)
        return (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
    fprintf(stderr, "prog-fork: no such way to fork: %s\n", how);
    exit(2);
}

/* 0, or the exit status to leave with. */
static int wait_for_child(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_DIED;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (WTERMSIG(status) == SIGALRM) {
        puts("deadlock: a child does not finish");
        return EXIT_DEADLOCK;
    }
    bool may_stop = strncmp(how, "sys_", 4) == 0;
    if (WTERMSIG(status) == SIGSEGV && may_stop) {
        puts("fail-stop");
        return 0;
    }
    printf("a child died of signal %d\n", WTERMSIG(status));
    return EXIT_DIED;
}

static void alarm_rang(int signal)
{
    (void)signal;
    static const char line[] = "deadlock: the parent does not finish\n";
    (void)!write(1, line, sizeof(line) - 1);
    _exit(EXIT_DEADLOCK);
}

static int fork_often(long n_forks)
{
    pid_t children[MAX_CHILDREN];
    int n_children = 0, result = 0;
    for (long i = 0; i < n_forks && !result; i++) {
        bool exact = i % 2 == 0;
        pthread_rwlock_wrlock(exact ? &steps : &replacements);
        pid_t pid = fork_somehow(exact);
        if (pid == 0) {
            signal(SIGALRM, SIG_DFL);
            child_main(exact, 1);
        }
        pthread_rwlock_unlock(exact ? &steps : &replacements);
        if (pid < 0) {
            perror("fork");
            return EXIT_DIED;
        }
        children[n_children++] = pid;
        if (n_children == MAX_CHILDREN) {
            result = wait_for_child(children[0]);
            memmove(children, children + 1, sizeof(children) - sizeof(children[0]));
            n_children--;
        }
    }
    for (int i = 0; i < n_children; i++) {
        int other = wait_for_child(children[i]);
        result = result ? result : other;
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s HOW N_FORKS\n", argv[0]);
        return 2;
    }
    how = argv[1];
    plain_fork = strcmp(how, "fork") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&steps, &attributes);
    pthread_rwlock_init(&replacements, &attributes);
    uint64_t random = 4711;
    for (size_t id = 0; id < N_BLOCKS; id++)
        block_allocate(&blocks[id], id, &random);
    signal(SIGALRM, alarm_rang);
    alarm(ALARM_SECONDS);

    pthread_t writers[N_WRITERS];
    for (size_t i = 0; i < N_WRITERS; i++)
        pthread_create(&writers[i], NULL, writer_main, (void *)i);
    int result = fork_often(atol(argv[2]));
    __atomic_store_n(&shared->done, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < N_WRITERS; i++)
        pthread_join(writers[i], NULL);
    for (size_t id = 0; id < N_BLOCKS; id++)
        check(&blocks[id], MARK_PARENT, id, "the parent's memory changed in the end");
    if (!result && shared->n_corruptions)
        result = EXIT_CORRUPTION;
    printf("%s forks by %s: %s\n", argv[2], how, result ? "FAILED" : "ok");
    return result;
}
