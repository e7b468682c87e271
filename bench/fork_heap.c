/*
 * fork_heap: a process with a large heap forks children that write a little and exit: database
 * snapshots, test runners, make. Reported: time per child, from fork to its being waited for.
 *
 *   fork_heap HEAP_BYTES WRITE_BYTES CHILDREN
 *
 * The heap is blocks of 1000 bytes. Each child writes WRITE_BYTES of it in one stretch; the parent
 * then checks that it sees none of that.
 */
#include "bench/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES 1000u

static const char usage[] = "HEAP_BYTES WRITE_BYTES CHILDREN";

static void run_child(void **blocks, uint64_t from, uint64_t n_written)
{
    pid_t child = fork();
    if (child < 0)
        bench_die("fork");
    if (child == 0) {
        for (uint64_t i = from; i < from + n_written; i++)
            block_stamp(blocks[i], BLOCK_BYTES, 0xcc);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "fork_heap: child failed, status %d\n", status);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    uint64_t n_blocks = bench_argument(argc, argv, 1, usage) / BLOCK_BYTES;
    uint64_t n_written = bench_argument(argc, argv, 2, usage) / BLOCK_BYTES;
    uint64_t n_children = bench_argument(argc, argv, 3, usage);
    if (argc != 4 || n_written >= n_blocks)
        bench_usage(argv[0], usage);
    void **blocks = bench_pages(n_blocks * sizeof(*blocks));
    for (uint64_t i = 0; i < n_blocks; i++) {
        blocks[i] = bench_malloc(BLOCK_BYTES);
        block_stamp(blocks[i], BLOCK_BYTES, (uint8_t)(i % 100));
    }
    struct bench b;
    struct bench_memory full;
    uint64_t state = n_children;
    bench_read_memory(&full); /* before the forks change what is mapped how */
    bench_start(&b, "fork_heap");
    for (uint64_t i = 0; i < n_children; i++) {
        uint64_t from = random_below(&state, n_blocks - n_written);
        run_child(blocks, from, n_written);
        for (uint64_t at = from; at < from + n_written; at++) {
            block_check(blocks[at]);
            if (*(uint8_t *)blocks[at] != at % 100)
                bench_corrupt(blocks[at], "a child's write shows in the parent");
        }
    }
    bench_stop(&b);
    b.full = full;
    return bench_report(&b, (double)b.elapsed_ns * 1e-3 / (double)n_children, "us/child",
                        blocks[0]);
}
