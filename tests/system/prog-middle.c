/*
 * Holds a few blocks of each of many sizes, as a program does that reads files into buffers: what
 * it had resident at the most for them, in hundredths of what it asked for.
 *
 *   prog-middle STEP_KIB
 *
 * One block of each size from 33 to 239 KiB in such steps, all of them written to; and 8 MB of
 * small blocks before, so that it is not a small program any more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define N_BEFORE     8192
#define BEFORE_BYTES 1000
#define FROM_KIB     33
#define UNTIL_KIB    240

static size_t peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss << 10;
}

static void *take_filled(size_t n_bytes)
{
    void *block = malloc(n_bytes);
    if (!block)
        exit(1);
    memset(block, 1, n_bytes);
    return block;
}

static char *before[N_BEFORE], *blocks[UNTIL_KIB];

int main(int argc, char **argv)
{
    if (argc != 2 || atoi(argv[1]) < 1)
        return 2;
    for (int i = 0; i < N_BEFORE; i++)
        before[i] = take_filled(BEFORE_BYTES);
    size_t begin = peak_bytes(), asked = 0;
    for (size_t n_kib = FROM_KIB; n_kib < UNTIL_KIB; n_kib += (size_t)atoi(argv[1])) {
        blocks[n_kib] = take_filled(n_kib << 10);
        asked += n_kib << 10;
    }
    printf("%zu\n", (peak_bytes() - begin) * 100 / asked);
    for (size_t n_kib = 0; n_kib < UNTIL_KIB; n_kib++)
        free(blocks[n_kib]);
    for (int i = 0; i < N_BEFORE; i++)
        free(before[i]);
    return 0;
}
