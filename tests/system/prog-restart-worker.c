/*
 * A program at work while its daemon is restarted: allocates, fills, checks and frees blocks of all
 * sizes, with pauses in which everything is free, so that memory becomes idle and is taken back.
 *
 *   prog-restart-worker SEED
 *
 * Works until standard input ends; then on standard output "max_ns N steps N waited N over N once
 * N": the longest that one malloc or free was blocked, neither running nor waiting for a processor
 * (/proc/self/schedstat), so that a busy machine does not count; how many there were; how many of
 * them waited as long as the library waits for the daemon; how many half as long again; and how
 * many of these slept but once, so that it was one wait and a late wake-up, not two waits. Behind
 * it the same with "control_ns" for "max_ns", of waits for as long on a pipe that nobody writes to:
 * what the machine makes of a bounded wait, at the same time, in the same process, without the
 * library. Every other worker forks now and then, and the child checks what it inherited. Exit 0; 1
 * and "corruption" or "out of memory".
 */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* HAKMEM_WAIT_US as it is by default. */
#define BOUND_NS 2000000

enum { N_BLOCKS = 120, OPERATIONS_A_TURN = 150, TURNS_A_PHASE = 12, CONTROL_TURNS = 2 };

static unsigned char *blocks[N_BLOCKS];
static size_t sizes[N_BLOCKS];
static unsigned char tags[N_BLOCKS];
static unsigned seed;

struct blocked {
    uint64_t max_ns;
    uint64_t n_steps;
    uint64_t n_waited;
    uint64_t n_over;
    uint64_t n_over_once;
};
static struct blocked steps, controls;

static uint64_t now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * Nanoseconds of blocked time so far, give or take what the process runs between two clocks. What
 * it waited for a processor is in schedstat; what it ran, too, but only as of the last tick or
 * switch: up to 4 ms of work after a wait would count as blocked.
 */
static uint64_t blocked_ns(void)
{
    static int fd = -1;
    char text[128];
    if (fd < 0)
        fd = open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0) /* a kernel that does not tell: all of it */
        n = 0;
    text[n] = 0;
    char *rest = text;
    (void)strtoull(text, &rest, 10);
    unsigned long long waited_ns = strtoull(rest, NULL, 10);
    return now_ns(CLOCK_MONOTONIC) - now_ns(CLOCK_PROCESS_CPUTIME_ID) - waited_ns;
}

/* Times that it went to sleep so far. */
static long count_sleeps(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
}

/* A step that never slept was not blocked: what is missing then is the host's, of a virtual
 * machine. */
static void note(struct blocked *blocked, uint64_t since_ns, long n_slept_before)
{
    int64_t n_ns = (int64_t)(blocked_ns() - since_ns);
    long n_slept = count_sleeps() - n_slept_before;
    if (n_slept == 0)
        n_ns = 0;
    if (n_ns > 0 && (uint64_t)n_ns > blocked->max_ns)
        blocked->max_ns = (uint64_t)n_ns;
    blocked->n_steps++;
    blocked->n_waited += n_ns >= BOUND_NS;
    blocked->n_over += n_ns >= BOUND_NS * 3 / 2;
    blocked->n_over_once += n_ns >= BOUND_NS * 3 / 2 && n_slept == 1;
}

/* Waits as the library does for an answer, by a poll with the bound for a timeout. */
static void wait_in_vain(int never)
{
    struct pollfd one = {.fd = never, .events = POLLIN};
    const struct timespec bound = {.tv_nsec = BOUND_NS};
    long n_slept = count_sleeps();
    uint64_t since_ns = blocked_ns();
    ppoll(&one, 1, &bound, NULL);
    note(&controls, since_ns, n_slept);
}

static void print(const char *name, const struct blocked *blocked)
{
    printf("%s %llu steps %llu waited %llu over %llu once %llu", name,
           (unsigned long long)blocked->max_ns, (unsigned long long)blocked->n_steps,
           (unsigned long long)blocked->n_waited, (unsigned long long)blocked->n_over,
           (unsigned long long)blocked->n_over_once);
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
    long n_slept = count_sleeps();
    uint64_t since_ns = blocked_ns();
    blocks[i] = malloc(sizes[i]);
    note(&steps, since_ns, n_slept);
    if (!blocks[i])
        fail("out of memory");
    tags[i] = (unsigned char)rand_r(&seed);
    memset(blocks[i], tags[i], sizes[i]);
}

static void drop(unsigned i)
{
    check(i);
    long n_slept = count_sleeps();
    uint64_t since_ns = blocked_ns();
    free(blocks[i]);
    note(&steps, since_ns, n_slept);
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
    int never[2];
    if (pipe2(never, O_CLOEXEC) < 0)
        return 2;
    for (unsigned turn = 1; poll(&end, 1, 10) == 0; turn++) {
        work();
        if (turn % CONTROL_TURNS == 0)
            wait_in_vain(never[0]);
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
    print("max_ns", &steps);
    print(" control_ns", &controls);
    printf("\n");
    return 0;
}
