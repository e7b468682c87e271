/*
 * touch_memory: touches free memory of the machine and gives it back.
 *
 *   touch_memory BYTES
 *
 * In a virtual machine a page that the host has not backed yet, or has taken back because it was
 * free for some seconds (free page reporting), costs the host's fault at its next touch: tens of
 * times the guest's own. Whichever allocator came first after a pause would pay for those that come
 * after it. The driver runs this before each measurement, with what the measurement is going to
 * touch. Prints what it touched, and per MiB the slowest and the fastest chunk: how much there was
 * to do. Stops early where memory is short.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>

#define CHUNK_BYTES ((size_t)16 << 20)
#define MAX_CHUNKS  8192u
#define PAGE        4096u

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec * 1e-3;
}

static size_t free_bytes(void)
{
    struct sysinfo info;
    return sysinfo(&info) ? 0 : (size_t)info.freeram * info.mem_unit;
}

/* Microseconds, or a negative number if there is no more address space. The mapping stays: given
 * back at once, the next chunk would get the same pages. */
static double touch_chunk(void)
{
    double began = now_us();
    unsigned char *chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (chunk == MAP_FAILED)
        return -1;
    madvise(chunk, CHUNK_BYTES, MADV_HUGEPAGE);
    for (size_t at = 0; at < CHUNK_BYTES; at += PAGE)
        chunk[at] = 1;
    return now_us() - began;
}

int main(int argc, char **argv)
{
    char *end;
    unsigned long long n_bytes = argc == 2 ? strtoull(argv[1], &end, 10) : 0;
    if (argc != 2 || end == argv[1] || *end) {
        fprintf(stderr, "usage: touch_memory BYTES\n");
        return 2;
    }
    double fastest = 1e30, slowest = 0, total = 0;
    unsigned n_chunks = 0;
    while (n_chunks < MAX_CHUNKS && (n_chunks + 1) * CHUNK_BYTES <= n_bytes &&
           free_bytes() > 4 * CHUNK_BYTES) {
        double us = touch_chunk();
        if (us < 0)
            break;
        n_chunks++;
        total += us;
        fastest = us < fastest ? us : fastest;
        slowest = us > slowest ? us : slowest;
    }
    double chunk_mib = (double)(CHUNK_BYTES >> 20);
    printf("{\"touched_mib\": %.0f, \"seconds\": %.2f, \"slowest_us_per_mib\": %.1f, "
           "\"fastest_us_per_mib\": %.1f}\n",
           n_chunks * chunk_mib, total * 1e-6, slowest / chunk_mib,
           n_chunks ? fastest / chunk_mib : 0);
    return 0;
}
