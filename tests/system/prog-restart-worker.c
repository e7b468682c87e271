/*
 * A program at work while its daemon is restarted: allocates, fills, checks and frees blocks of all
 * sizes, with pauses in which everything is free, so that memory becomes idle and is taken back.
 *
 *   prog-restart-worker SEED
 *
 * Works until standard input ends; then "max_ns N" on standard output, the longest that one malloc
 * or free was blocked: neither running nor waiting for a processor (/proc/self/schedstat), so that
 * a busy machine does not count. Every other worker forks now and then, and the child checks what
 * it inherited. Exit 0; 1 and "corruption" or "out of memory".
 */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { N_BLOCKS = 120, OPERATIONS_A_TURN = 150, TURNS_A_PHASE = 12 };

static unsigned char *blocks[N_BLOCKS];
static size_t sizes[N_BLOCKS];
static unsigned char tags[N_BLOCKS];
static uint64_t max_ns;
static unsigned seed;

/* Nanoseconds of blocked time so far, give or take what the process runs between two clocks. */
static uint64_t blocked_ns(void)
{
    static int fd = -1;
    char text[128];
    struct timespec now;
    if (fd < 0)
        fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (n <= 0) /* a kernel that does not tell: all of it */
        n = 0;
    text[n] = 0;
    char *rest = text;
    unsigned long long ran_ns = strtoull(text, &rest, 10), waited_ns = strtoull(rest, NULL, 10);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - ran_ns - waited_ns;
}

static void note(uint64_t since_ns)
{
    int64_t n_ns = (int64_t)(blocked_ns() - since_ns);
    if (n_ns > 0 && (uint64_t)n_ns > max_ns)
        max_ns = (uint64_t)n_ns;
}

static void fail(const char *what)
{
    printf("%s\n", what);
    fflush(stdout);
    _exit(1);
}

static void check(unsigned i)
{
    for (size_t j = 0; j < sizes[i]; j++)
        if (blocks[i][j] != tags[i])
            fail("corruption");
}

static void take(unsigned i)
{
    unsigned kind = (unsigned)rand_r(&seed) % 40;
    sizes[i] = kind == 0  ? 2500000
               : kind < 4 ? 70000 + (size_t)rand_r(&seed) % 200000
                          : 16 + (size_t)rand_r(&seed) % 9000;
    uint64_t since_ns = blocked_ns();
    blocks[i] = malloc(sizes[i]);
    note(since_ns);
    if (!blocks[i])
        fail("out of memory");
    tags[i] = (unsigned char)rand_r(&seed);
    memset(blocks[i], tags[i], sizes[i]);
}

static void drop(unsigned i)
{
    check(i);
    uint64_t since_ns = blocked_ns();
    free(blocks[i]);
    note(since_ns);
    blocks[i] = NULL;
}

static void work(void)
{
    for (unsigned n = 0; n < OPERATIONS_A_TURN; n++) {
        unsigned i = (unsigned)rand_r(&seed) % N_BLOCKS;
        if (blocks[i])
            drop(i);
        else
            take(i);
    }
}

static void check_in_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < N_BLOCKS; i++)
            if (blocks[i])
                check(i);
        _exit(0);
    }
    int status = 1;
    if (child > 0 && (waitpid(child, &status, 0) != child || status != 0))
        fail("corruption in a child");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    seed = (unsigned)atoi(argv[1]);
    struct pollfd end = {.fd = 0, .events = POLLIN};
    for (unsigned turn = 1; poll(&end, 1, 10) == 0; turn++) {
        work();
        if (turn % TURNS_A_PHASE == 0)
            for (unsigned i = 0; i < N_BLOCKS; i++)
                if (blocks[i])
                    drop(i);
        if (turn % 37 == 0 && atoi(argv[1]) % 2)
            check_in_child();
    }
    for (unsigned i = 0; i < N_BLOCKS; i++)
        if (blocks[i])
            drop(i);
    printf("max_ns %llu\n", (unsigned long long)max_ns);
    return 0;
}
