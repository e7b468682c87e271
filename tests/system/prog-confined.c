/*
 * A program that cannot reach the daemon, or not well, allocates as ever.
 *
 *   prog-confined HOW MIB
 *
 * HOW: free (no confinement), chroot DIRECTORY is given in $CONFINED_ROOT, seccomp (socket and
 * connect give EPERM), nofile (no descriptor is to be had), strict and strict-late (seccomp kills
 * for all but what malloc is expected to do; late: after a first round of what follows, by
 * seccomp() instead of prctl()). Then MIB of blocks are allocated, checked, freed, had again.
 * Prints one line longest N us the longest time that one malloc took.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { EACH = 20000 };

static void forbid_sockets(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_connect, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("seccomp");
        exit(77);
    }
}

/* As a parser that waits for hostile input would, having looked at what it does under glibc. */
static void allow_malloc_alone(bool by_prctl)
{
    static const int allowed[] = {
        SYS_mmap,  SYS_munmap, SYS_mremap,        SYS_madvise,        SYS_mprotect, SYS_brk,
        SYS_futex, SYS_write,  SYS_clock_gettime, SYS_rt_sigprocmask, SYS_getpid,   SYS_exit_group};
    enum { N = sizeof(allowed) / sizeof(allowed[0]) };
    struct sock_filter filter[2 * N + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    size_t n = 1;
    for (size_t i = 0; i < N; i++) {
        filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = filter};
    printf("confined: "); /* stdio asks what its descriptor is before that */
    fflush(stdout);
    /* Who is refused is not confined. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, ~0u, &program) != -1 || errno != EINVAL ||
        prctl(PR_SET_SECCOMP, 77, &program) != -1 || errno != EINVAL)
        exit(1);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        (by_prctl ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)
                  : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))) {
        perror("seccomp");
        exit(77);
    }
}

static void confine(const char *how)
{
    if (strcmp(how, "strict") == 0) {
        allow_malloc_alone(true);
    } else if (strcmp(how, "strict-late") == 0) {
        allow_malloc_alone(false);
    } else if (strcmp(how, "seccomp") == 0) {
        forbid_sockets();
    } else if (strcmp(how, "chroot") == 0) {
        if (chroot(getenv("CONFINED_ROOT")) || chdir("/")) {
            perror("chroot");
            exit(77);
        }
    } else if (strcmp(how, "nofile") == 0) {
        struct rlimit limit = {.rlim_cur = 3, .rlim_max = 3};
        setrlimit(RLIMIT_NOFILE, &limit);
    } else if (strcmp(how, "free") != 0) {
        exit(2);
    }
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    bool is_late = strcmp(argv[1], "strict-late") == 0;
    if (!is_late)
        confine(argv[1]);
    size_t n = strtoull(argv[2], NULL, 10) * (1 << 20) / EACH;
    uint64_t longest = 0;
    unsigned char **blocks = calloc(n, sizeof(*blocks));
    for (int round = 0; round < 3; round++) {
        if (round == 1 && is_late)
            confine(argv[1]);
        for (size_t i = 0; i < n; i++) {
            uint64_t started = now_us();
            errno = 55;
            blocks[i] = malloc(EACH);
            if (!blocks[i] || errno != 55) {
                printf("malloc: %p, errno %d\n", (void *)blocks[i], errno);
                return 1;
            }
            uint64_t took = now_us() - started;
            longest = took > longest ? took : longest;
            memset(blocks[i], (int)(i + (size_t)round), EACH);
        }
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < EACH; j++)
                if (blocks[i][j] != (unsigned char)(i + (size_t)round)) {
                    printf("block %zu is wrong\n", i);
                    return 1;
                }
        for (size_t i = 0; i < n; i++)
            free(blocks[i]);
    }
    free(blocks);
    printf("longest %llu us\n", (unsigned long long)longest);
    return 0;
}
