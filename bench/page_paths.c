/*
 * page_paths: the ways in which memory reaches a program, and what each costs it: until every page
 * has been written to once, and to give it back.
 *
 *   page_paths BYTES ROUNDS
 *
 * All ways in turn, round by round; the first round is in no figure. Prints one JSON object:
 * medians in microseconds per MiB. A memfd is made once and keeps its pages, as the daemon's do: a
 * program that gives it back unmaps it. `memfd_2m_share`: how much of it really was in 2 MiB pages.
 */
#include "bench/common.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE       4096u
#define HUGE_PAGE  ((size_t)2 << 20)
#define MAX_ROUNDS 99u

/* Older C libraries' headers do not have it; Linux 6.1 does. */
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static const char usage[] = "BYTES ROUNDS";

/* How a path gets its memory. */
struct path {
    const char *name;
    int advice;    /* of madvise(), 0: none */
    int map_flags; /* besides MAP_FIXED */
    int fd;        /* -1: anonymous */
    bool is_memfd;
    double touch_us[MAX_ROUNDS]; /* per MiB */
    double back_us[MAX_ROUNDS];
};

static struct path paths[] = {
    {.name = "anon_4k", .advice = MADV_NOHUGEPAGE, .map_flags = MAP_PRIVATE | MAP_ANONYMOUS},
    {.name = "anon_2m", .advice = MADV_HUGEPAGE, .map_flags = MAP_PRIVATE | MAP_ANONYMOUS},
    {.name = "memfd_4k", .map_flags = MAP_SHARED, .is_memfd = true},
    {.name = "memfd_4k_populate", .map_flags = MAP_SHARED | MAP_POPULATE, .is_memfd = true},
    {.name = "memfd_2m", .map_flags = MAP_SHARED, .is_memfd = true},
};
#define N_PATHS (sizeof(paths) / sizeof(paths[0]))
#define LAST    (&paths[N_PATHS - 1]) /* the one with 2 MiB pages */

static size_t n_bytes;
static char *room; /* aligned to a huge page; every path maps itself here */

static void touch(void)
{
    for (size_t at = 0; at < n_bytes; at += PAGE)
        *(volatile char *)(room + at) = 1;
}

static void map_path(const struct path *path)
{
    int fd = path->is_memfd ? path->fd : -1;
    if (mmap(room, n_bytes, PROT_READ | PROT_WRITE, path->map_flags | MAP_FIXED, fd, 0) != room)
        bench_die("mmap");
    if (path->advice)
        madvise(room, n_bytes, path->advice); /* a kernel without huge pages says no */
}

static void unmap_path(void)
{
    if (munmap(room, n_bytes))
        bench_die("munmap");
}

static void make_memfd(struct path *path)
{
    path->fd = memfd_create("page_paths", MFD_CLOEXEC);
    if (path->fd < 0 || ftruncate(path->fd, (off_t)n_bytes))
        bench_die("memfd");
    map_path(path);
    madvise(room, n_bytes, path == LAST ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    touch();
    if (path == LAST)
        madvise(room, n_bytes, MADV_COLLAPSE); /* where it came as small pages; share() tells */
    unmap_path();
}

/* How much of the last path's memory is mapped by 2 MiB pages. */
static double share(void)
{
    map_path(LAST);
    touch();
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    unsigned long huge_kib = 0;
    while (file && fgets(line, sizeof(line), file))
        sscanf(line, "ShmemPmdMapped: %lu", &huge_kib);
    if (file)
        fclose(file);
    unmap_path();
    return (double)huge_kib * 1024 / (double)n_bytes;
}

static void run(struct path *path, unsigned round)
{
    double mib = (double)n_bytes / (1 << 20);
    uint64_t began = bench_now_ns();
    map_path(path);
    touch();
    uint64_t touched = bench_now_ns();
    unmap_path();
    uint64_t done = bench_now_ns();
    path->touch_us[round] = (double)(touched - began) / 1e3 / mib;
    path->back_us[round] = (double)(done - touched) / 1e3 / mib;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), compare);
    return values[n / 2];
}

int main(int argc, char **argv)
{
    if (argc != 3)
        bench_usage(argv[0], usage);
    n_bytes = (bench_argument(argc, argv, 1, usage) + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
    uint64_t n_rounds = bench_argument(argc, argv, 2, usage);
    if (n_rounds > MAX_ROUNDS)
        bench_usage(argv[0], usage);
    char *reserved = mmap(NULL, n_bytes + HUGE_PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        bench_die("mmap");
    room = (char *)(((uintptr_t)reserved + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    for (size_t i = 0; i < N_PATHS; i++)
        if (paths[i].is_memfd)
            make_memfd(&paths[i]);
    for (unsigned round = 0; round <= n_rounds; round++)
        for (size_t i = 0; i < N_PATHS; i++)
            run(&paths[i], round ? round - 1 : 0);
    printf("{");
    for (size_t i = 0; i < N_PATHS; i++)
        printf("\"%s_touch_us\": %.2f, \"%s_back_us\": %.2f, ", paths[i].name,
               median(paths[i].touch_us, n_rounds), paths[i].name,
               median(paths[i].back_us, n_rounds));
    printf("\"memfd_2m_share\": %.2f}\n", share());
    return 0;
}
