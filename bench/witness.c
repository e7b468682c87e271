/*
 * witness: a library that the driver preloads beside the allocator in one untimed run of each
 * program that is not ours, to see which library serves that program's malloc. At start it appends
 * one line to $BENCH_WITNESS: the program, the file of malloc as the loader resolved it, and what
 * hakmem says of a fresh block (-1: no hakmem there).
 *
 * Runs in foreign processes: no stdio, no allocation but the one block it asks about.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/whose_malloc.h"

static size_t append(char *line, size_t at, size_t capacity, const char *text)
{
    while (*text && at + 1 < capacity)
        line[at++] = *text++;
    return at;
}

__attribute__((constructor)) static void testify(void)
{
    const char *path = getenv("BENCH_WITNESS");
    const char *file = whose_malloc();
    if (!path || !*file)
        return;
    void *block = malloc(100);
    int owned = whose_block(block);
    free(block);

    char program[512], line[2048];
    ssize_t n_program = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[n_program > 0 ? n_program : 0] = '\0';
    size_t n = append(line, 0, sizeof(line), program);
    n = append(line, n, sizeof(line), "\t");
    n = append(line, n, sizeof(line), file);
    n = append(line, n, sizeof(line), owned < 0 ? "\t-1\n" : owned == 0 ? "\t0\n" : "\t1\n");
    int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return;
    ssize_t written = write(descriptor, line, n);
    (void)written; /* a line that is missing fails the row */
    close(descriptor);
}
