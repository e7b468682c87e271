/*
 * Memory stays bounded however threads come, go, and hand blocks to each other.
 *
 *   prog-threads short N LIMIT_MIB   N threads, one after the other and some at a time, allocate
 * and free 200 KB each and leave a few blocks to others, in which the next find their memory
 *   prog-threads queue N LIMIT_MIB   one thread allocates N blocks, another frees them, through a
 * queue prog-threads late N LIMIT_MIB    N threads that allocate and free in destructors of
 * thread-specific data, in every round of them, and free blocks of other threads there
 *
 * Prints the peak of this process's resident memory above what it was at first; exit 1 if it is
 * more than LIMIT_MIB.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static long n_times;

static size_t resident_kib(const char *field)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char *at = strstr(text, field);
    return at ? strtoull(at + strlen(field), NULL, 10) : 0;
}

static void die(const char *what)
{
    dprintf(2, "prog-threads: %s\n", what);
    abort();
}

/* ---- short ---- */

enum { N_LEFT = 64 };
/* Blocks that threads leave for others to free. */
static unsigned char *left[N_LEFT];

static void *short_main(void *argument)
{
    unsigned index = (unsigned)(uintptr_t)argument;
    unsigned char *blocks[200];
    for (unsigned i = 0; i < 200; i++) {
        size_t n = 16 + (i * 31 + index * 7) % 2000;
        blocks[i] = malloc(n);
        memset(blocks[i], 1, n);
    }
    unsigned char *mine = malloc(1000 + index % 3000);
    mine[0] = 0x5e;
    unsigned char *theirs = __atomic_exchange_n(&left[index % N_LEFT], mine, __ATOMIC_ACQ_REL);
    if (theirs && theirs[0] != 0x5e)
        die("a block that was left has changed");
    free(theirs);
    for (unsigned i = 0; i < 200; i++)
        free(blocks[i]);
    return NULL;
}

static void test_short(void)
{
    pthread_t threads[8];
    for (long i = 0; i < n_times; i += 8) {
        for (long j = 0; j < 8; j++)
            if (pthread_create(&threads[j], NULL, short_main, (void *)(i + j)))
                die("pthread_create fails");
        for (long j = 0; j < 8; j++)
            pthread_join(threads[j], NULL);
    }
    for (size_t i = 0; i < N_LEFT; i++)
        free(left[i]);
}

/* ---- queue ---- */

enum { QUEUE = 1024 };
static unsigned char *queue[QUEUE];
static uint64_t n_put, n_taken;

static void *producer_main(void *argument)
{
    (void)argument;
    for (long i = 0; i < n_times; i++) {
        while ((uint64_t)i - __atomic_load_n(&n_taken, __ATOMIC_ACQUIRE) >= QUEUE)
            sched_yield();
        size_t n = 16 + (size_t)(i * 7919) % 1500;
        unsigned char *p = malloc(n);
        p[0] = (unsigned char)i;
        p[n - 1] = (unsigned char)i;
        queue[i % QUEUE] = p;
        __atomic_store_n(&n_put, (uint64_t)i + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void test_queue(void)
{
    pthread_t producer;
    pthread_create(&producer, NULL, producer_main, NULL);
    for (long i = 0; i < n_times; i++) {
        while (__atomic_load_n(&n_put, __ATOMIC_ACQUIRE) <= (uint64_t)i)
            sched_yield();
        unsigned char *p = queue[i % QUEUE];
        if (p[0] != (unsigned char)i)
            die("a block changed on its way");
        free(p);
        __atomic_store_n(&n_taken, (uint64_t)i + 1, __ATOMIC_RELEASE);
    }
    pthread_join(producer, NULL);
}

/* ---- late ---- */

static pthread_key_t keys[4];
static unsigned char *exchanged;

/* Runs in each of the rounds of destructors: by turns before and after the allocator's own. */
static void destroy(void *value)
{
    unsigned char *bytes = value;
    unsigned round = bytes[0], key = bytes[1];
    if (bytes[99] != 0x7c)
        die("a thread's value has changed");
    free(bytes);
    unsigned char *others = malloc(300);
    memset(others, 0x1f, 300);
    others = __atomic_exchange_n(&exchanged, others, __ATOMIC_ACQ_REL);
    if (others && others[299] != 0x1f)
        die("a block from another thread's end has changed");
    free(others);
    if (round == 0)
        return;
    bytes = malloc(100);
    memset(bytes, 0x7c, 100);
    bytes[0] = (unsigned char)(round - 1);
    bytes[1] = (unsigned char)key;
    pthread_setspecific(keys[key], bytes);
}

static void *late_main(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 4; i++) {
        unsigned char *bytes = malloc(100);
        memset(bytes, 0x7c, 100);
        bytes[0] = (unsigned char)(PTHREAD_DESTRUCTOR_ITERATIONS - 1);
        bytes[1] = (unsigned char)i;
        pthread_setspecific(keys[i], bytes);
    }
    return NULL;
}

static void test_late(void)
{
    for (size_t i = 0; i < 4; i++)
        pthread_key_create(&keys[i], destroy);
    for (long i = 0; i < n_times; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, late_main, NULL))
            die("pthread_create fails");
        pthread_join(thread, NULL);
    }
    free(exchanged);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    n_times = atol(argv[2]);
    size_t limit_kib = strtoull(argv[3], NULL, 10) << 10;
    /* The first touch of everything that any process has. */
    free(malloc(100));
    size_t before = resident_kib("VmRSS:");
    if (strcmp(argv[1], "short") == 0)
        test_short();
    else if (strcmp(argv[1], "queue") == 0)
        test_queue();
    else if (strcmp(argv[1], "late") == 0)
        test_late();
    else
        return 2;
    size_t peak = resident_kib("VmHWM:") - before;
    printf("%s: %zu KiB at the peak\n", argv[1], peak);
    return peak > limit_kib;
}
