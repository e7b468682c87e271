/*
 * prog-failing-calls KIND [FROM [EVERY]]: runs a short model of the malloc family again and again,
 * each time with one more system call let through before one fails, or all from then on do: the
 * allocator must serve, or say NULL and ENOMEM, and every byte must stay what it was. The calls of
 * the traced process are counted from its first allocation on, that is, from the setting up of the
 * heap.
 *
 * KIND: once, always (all memory calls from then on), shared (no mapping of an extent succeeds),
 * map (as always, but only calls that make mappings: what a process meets that has as many as it
 * may), fork (as always, but only from when the process forks until it has).
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* prctl() calls by which the model says where it is. The kernel knows neither. */
#define MARK_BEGIN 0x68616b31
#define MARK_FORK  0x68616b32
#define MARK_END   0x68616b33

/* ---- the model ---- */

#define N_BLOCKS 36

static struct {
    unsigned char *at;
    size_t n_bytes;
    unsigned char with;
} blocks[N_BLOCKS];
static bool may_lose_child;

static void complain(const char *what, size_t i)
{
    fprintf(stderr, "block %zu of %zu bytes: %s\n", i, blocks[i].n_bytes, what);
    _exit(1);
}

static void check(size_t i)
{
    for (size_t k = 0; k < blocks[i].n_bytes; k++) {
        if (blocks[i].at[k] != blocks[i].with) {
            fprintf(stderr, "byte %zu is %02x, not %02x\n", k, blocks[i].at[k], blocks[i].with);
            complain("its contents have changed", i);
        }
    }
}

static void check_all(void)
{
    for (size_t i = 0; i < N_BLOCKS; i++) {
        if (blocks[i].at)
            check(i);
    }
}

static void keep(size_t i, void *at, size_t n_bytes)
{
    if (!at) {
        if (errno != ENOMEM)
            complain("NULL without ENOMEM", i);
        n_bytes = 0;
    }
    blocks[i].at = at;
    blocks[i].n_bytes = n_bytes;
    blocks[i].with = (unsigned char)(i + n_bytes);
    if (at)
        memset(at, blocks[i].with, n_bytes);
}

static size_t bytes_of(size_t i, size_t round)
{
    static const size_t sizes[] = {24,     300,    1000,    70000,   150000, 5000,
                                   200000, 900000, 2200000, 4300000, 60000,  16};
    return sizes[(i + round) % (sizeof(sizes) / sizeof(sizes[0]))] + i;
}

static void allocate(size_t i, size_t round)
{
    size_t n_bytes = bytes_of(i, round);
    errno = 0;
    if (i % 5 == 1) {
        unsigned char *at = calloc(1, n_bytes);
        for (size_t k = 0; at && k < n_bytes; k++) {
            if (at[k])
                complain("calloc() gave other than zeros", i);
        }
        keep(i, at, n_bytes);
    } else if (i % 5 == 2) {
        size_t alignment = (size_t)64 << i % 18;
        void *at = aligned_alloc(alignment, n_bytes);
        if ((uintptr_t)at % alignment)
            complain("is not aligned", i);
        keep(i, at, n_bytes);
    } else {
        keep(i, malloc(n_bytes), n_bytes);
    }
}

static void resize(size_t i, size_t n_bytes)
{
    size_t n_old = blocks[i].n_bytes, n_kept = n_old < n_bytes ? n_old : n_bytes;
    errno = 0;
    unsigned char *at = realloc(blocks[i].at, n_bytes);
    if (!at) {
        if (errno != ENOMEM)
            complain("NULL without ENOMEM from realloc()", i);
        return;
    }
    for (size_t k = 0; k < n_kept; k++) {
        if (at[k] != blocks[i].with)
            complain("realloc() lost its contents", i);
    }
    keep(i, at, n_bytes);
}

static void fork_one(void)
{
    int status;
    check_all();
    prctl(MARK_FORK);
    pid_t pid = fork();
    if (pid == 0) {
        check_all();
        for (size_t i = 0; i < N_BLOCKS; i++) {
            if (blocks[i].at)
                memset(blocks[i].at, 0xee, blocks[i].n_bytes);
        }
        free(malloc(100000));
        _exit(0);
    }
    if (pid < 0)
        return;
    waitpid(pid, &status, 0);
    if (status != 0 && !(may_lose_child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV)) {
        fprintf(stderr, "the child ended with %x\n", status);
        _exit(1);
    }
    check_all(); /* nothing of what the child wrote */
}

static int run_model(void)
{
    prctl(MARK_BEGIN);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < N_BLOCKS; i++) {
            if (!blocks[i].at)
                allocate(i, round);
        }
        for (size_t i = round; i < N_BLOCKS; i += 4)
            if (blocks[i].at)
                resize(i, bytes_of(i, round + 3));
        if (round == 1)
            fork_one();
        for (size_t i = round; i < N_BLOCKS; i += 3) {
            if (blocks[i].at)
                check(i);
            free(blocks[i].at);
            blocks[i].at = NULL;
        }
        malloc_trim(0);
    }
    check_all();
    prctl(MARK_END);
    return 0;
}

/* ---- the tracer ---- */

static bool makes_mapping(const struct user_regs_struct *registers)
{
    switch (registers->orig_rax) {
    case SYS_mmap:
    case SYS_mremap:
    case SYS_mprotect:
        return true;
    default:
        return false;
    }
}

static bool is_of_extent(const struct user_regs_struct *registers)
{
    return registers->orig_rax == SYS_mmap && (registers->r10 & MAP_FIXED) &&
           (registers->r10 & MAP_SHARED);
}

static bool is_fork(const struct user_regs_struct *registers)
{
    return registers->orig_rax == SYS_clone || registers->orig_rax == SYS_fork;
}

static bool may_fail(const struct user_regs_struct *registers, const char *kind)
{
    if (strcmp(kind, "shared") == 0)
        return is_of_extent(registers);
    if (makes_mapping(registers))
        return true;
    if (strcmp(kind, "map") == 0)
        return false;
    switch (registers->orig_rax) {
    case SYS_munmap:
    case SYS_madvise:
    case SYS_memfd_create:
    case SYS_fcntl:
    case SYS_getrlimit:
    case SYS_prlimit64:
        return true;
    case SYS_socket:
    case SYS_connect:
    case SYS_sendmsg:
    case SYS_recvmsg:
    case SYS_ppoll:
    case SYS_fstat:
        return strcmp(kind, "once") == 0;
    default:
        return false;
    }
}

/* Lets n calls through. -1: the model failed; else how many there were that might have failed. */
static long run_traced(const char *program, const char *kind, long n_through)
{
    struct user_regs_struct registers, first = {0};
    long n_calls = 0;
    bool is_counting = false, is_entry = true, fails = false;
    int status;
    bool is_once = strcmp(kind, "once") == 0, is_of_fork = strcmp(kind, "fork") == 0;
    pid_t pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execl(program, program, is_once ? "model" : "model-all", NULL);
        _exit(2);
    }
    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
    for (int deliver = 0;;) {
        ptrace(PTRACE_SYSCALL, pid, NULL, deliver);
        deliver = 0;
        if (waitpid(pid, &status, 0) < 0 || WIFEXITED(status) || WIFSIGNALED(status))
            break;
        if (WSTOPSIG(status) != (SIGTRAP | 0x80)) {
            deliver = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
            continue;
        }
        ptrace(PTRACE_GETREGS, pid, NULL, &registers);
        if (!is_entry) {
            if (fails) {
                registers.rax = (unsigned long long)(long long)-ENOMEM;
                ptrace(PTRACE_SETREGS, pid, NULL, &registers);
            }
            fails = false;
            is_entry = true;
            continue;
        }
        is_entry = false;
        if (registers.orig_rax == SYS_prctl &&
            registers.rdi == (is_of_fork ? MARK_FORK : MARK_BEGIN))
            is_counting = true;
        if (is_of_fork ? is_fork(&registers)
                       : registers.orig_rax == SYS_prctl && registers.rdi == MARK_END)
            is_counting = false;
        if (!is_counting || !may_fail(&registers, kind))
            continue;
        n_calls++;
        fails = is_once ? n_calls == n_through + 1 : n_calls > n_through;
        if (fails) {
            first = first.orig_rax ? first : registers;
            registers.orig_rax = (unsigned long long)-1;
            ptrace(PTRACE_SETREGS, pid, NULL, &registers);
        }
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return n_calls;
    fprintf(stderr, "%s, after %ld calls (then call %lld at %llx, %llx bytes, %llx, %llx): %x\n",
            kind, n_through, (long long)first.orig_rax, first.rdi, first.rsi, first.rdx, first.r10,
            status);
    return -1;
}

int main(int n_arguments, char **arguments)
{
    if (n_arguments > 1 && strncmp(arguments[1], "model", 5) == 0) {
        may_lose_child = strcmp(arguments[1], "model-all") == 0;
        alarm(20);
        return run_model();
    }
    const char *kind = n_arguments > 1 ? arguments[1] : "once";
    long n_failed = 0, n_runs = 0, begin = n_arguments > 2 ? atol(arguments[2]) : 0;
    long every = n_arguments > 3 ? atol(arguments[3]) : 1;
    srandom((unsigned)getpid());
    for (long n_through = begin;; n_through += 1 + random() % (2 * every - 1)) {
        long n_calls = run_traced(arguments[0], kind, n_through);
        n_failed += n_calls < 0;
        n_runs++;
        if (n_failed > 10 || (n_calls >= 0 && n_calls <= n_through))
            break;
    }
    printf("%s: %ld runs, %ld failed\n", kind, n_runs, n_failed);
    return n_failed > 0 || n_runs < 2;
}
