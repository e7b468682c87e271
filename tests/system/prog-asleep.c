/*
 * Grows to so many bytes in blocks of one size, frees all of it, and does nothing more with the
 * heap.
 *
 *   prog-asleep BYTES BLOCK_BYTES [SWINGS]
 *
 * Prints "grown N freed N", what is resident then, in bytes. With SWINGS it does so as often, in
 * small pages, and prints before that "faults" and the page faults of each time.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

enum { N_MAX = 1000000, PAGE = 4096, SWINGS_MAX = 100 };

static char *blocks[N_MAX];

static long count_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

/* Without a block from the heap. */
static long resident(void)
{
    char text[128];
    long all, pages;
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t n = read(fd, text, sizeof(text) - 1);
    if (n < 0)
        _exit(1);
    text[n] = 0;
    close(fd);
    return sscanf(text, "%ld %ld", &all, &pages) == 2 ? pages * PAGE : -1;
}

int main(int argc, char **argv)
{
    size_t n_bytes = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    size_t block_bytes = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    int n_swings = argc > 3 ? atoi(argv[3]) : 1;
    if (block_bytes == 0 || n_bytes / block_bytes > N_MAX || n_swings > SWINGS_MAX)
        return 2;
    size_t n = n_bytes / block_bytes;
    long faults[SWINGS_MAX], grown = 0;
    /* How many faults it takes must not depend on where the kernel has huge pages left. */
    if (n_swings > 1 && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) < 0)
        return 2;
    for (int swing = 0; swing < n_swings; swing++) {
        long before = count_faults();
        for (size_t i = 0; i < n; i++) {
            if (!(blocks[i] = malloc(block_bytes)))
                return 1;
            for (size_t at = 0; at < block_bytes; at += PAGE)
                blocks[i][at] = 1;
        }
        grown = resident();
        for (size_t i = 0; i < n; i++)
            free(blocks[i]);
        faults[swing] = count_faults() - before;
    }
    long freed = resident();
    if (n_swings > 1) {
        printf("faults");
        for (int swing = 0; swing < n_swings; swing++)
            printf(" %ld", faults[swing]);
        printf("\n");
    }
    printf("grown %ld freed %ld\n", grown, freed);
    return 0;
}
