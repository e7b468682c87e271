/*
 * prog-prewarm BYTES [MS]: prewarms so much, waits for so long, then allocates and touches half of
 * it in blocks of 1024 bytes. Prints the system calls that this cost the library, how often the
 * clock's second changed meanwhile, and whether the blocks are leased memory.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hakmem.h"

#define BLOCK_BYTES 1024u

static void *need(const char *name)
{
    void *function = dlsym(RTLD_DEFAULT, name);
    if (!function) {
        fprintf(stderr, "no %s: the library is not there\n", name);
        exit(2);
    }
    return function;
}

static long second_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* the library's */
    return (long)now.tv_sec;
}

int main(int argc, char **argv)
{
    int (*prewarm)(size_t n_bytes) = need("hak_ss_prewarm_init");
    int (*get_stats)(struct hak_stats * stats, size_t size) = need("hak_stats");
    enum hak_owner (*owns)(const void *pointer) = need("hak_owns");
    size_t n_bytes = argc >= 2 ? strtoul(argv[1], NULL, 10) : 0;
    struct hak_stats before, after;

    if (prewarm(n_bytes) || get_stats(&before, sizeof(before))) {
        fprintf(stderr, "prewarming %zu bytes failed\n", n_bytes);
        return 1;
    }
    if (argc == 3)
        usleep((useconds_t)atoi(argv[2]) * 1000);
    long began = second_now();
    char *last = NULL;
    for (size_t n_done = 0; n_done < n_bytes / 2; n_done += BLOCK_BYTES) {
        last = malloc(BLOCK_BYTES);
        if (!last)
            return 1;
        memset(last, 1, BLOCK_BYTES);
    }
    if (get_stats(&after, sizeof(after)))
        return 1;
    printf("syscalls %llu\nseconds %ld\nleased %d\n",
           (unsigned long long)(after.syscalls - before.syscalls), second_now() - began,
           owns(last) == HAK_OWNER_LEASED);
    return 0;
}
