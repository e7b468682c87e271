/*
 * prog-calloc: zeroed huge blocks, of which now little and now all is written to, between free,
 * fork, blocks that are not zeroed and, under a daemon that reclaims at once, reclaimed memory.
 * Each is looked at, every byte; children look at their own and at their parent's.
 *
 *   prog-calloc STEPS SEED
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"

#define N_BLOCKS    5u
#define MIN_BYTES   ((size_t)1 << 20)
#define MAX_BYTES   ((size_t)12 << 20)
#define PHASE_STEPS 60u
#define MARK        0x5a

struct block {
    unsigned char *bytes;
    size_t n_bytes;
    size_t marked; /* this byte is MARK, and, if not `filled`, all others but the ends are 0 */
    int filled;
};

static struct block blocks[N_BLOCKS];
static uint64_t state;

static size_t below(size_t n)
{
    return (size_t)(random_next(&state) % n);
}

static void die(const char *what, const struct block *block, size_t at)
{
    fprintf(stderr, "pid %d: %s: block %p of %zu bytes, at %zu\n", (int)getpid(), what,
            (void *)block->bytes, block->n_bytes, at);
    exit(1);
}

/* Bytes from..end of the block. */
static void expect_all(const struct block *block, size_t from, size_t end, unsigned char wanted,
                       const char *what)
{
    const unsigned char *bytes = block->bytes;
    if (from == end ||
        (bytes[from] == wanted && memcmp(bytes + from, bytes + from + 1, end - from - 1) == 0))
        return;
    while (from < end && bytes[from] == wanted)
        from++;
    die(what, block, from);
}

static void expect_as_left(const struct block *block, const char *what)
{
    unsigned char others = block->filled ? MARK : 0;
    if (!block->bytes)
        return;
    expect_all(block, 0, block->marked, others, what);
    expect_all(block, block->marked, block->marked + 1, MARK, what);
    expect_all(block, block->marked + 1, block->n_bytes, others, what);
}

static void renew(struct block *block, int fill)
{
    free(block->bytes);
    block->n_bytes = MIN_BYTES + below(MAX_BYTES - MIN_BYTES);
    block->filled = fill;
    block->marked = below(block->n_bytes);
    if (below(6) == 0) {
        block->filled = 1;
        block->bytes = malloc(block->n_bytes);
    } else {
        block->bytes = calloc(1, block->n_bytes);
        /* Most of them unread: a look makes pages resident. */
        if (below(3) == 0)
            expect_all(block, 0, block->n_bytes, 0, "not zero");
    }
    if (!block->bytes)
        die("out of memory", block, 0);
    if (block->filled)
        memset(block->bytes, MARK, block->n_bytes);
    block->bytes[block->marked] = MARK;
}

static void child(unsigned n_steps)
{
    for (unsigned i = 0; i < N_BLOCKS; i++)
        expect_as_left(&blocks[i], "not the parent's");
    for (unsigned step = 0; step < n_steps; step++)
        renew(&blocks[below(N_BLOCKS)], step % 8 == 0);
    for (unsigned i = 0; i < N_BLOCKS; i++)
        expect_as_left(&blocks[i], "not as left in the child");
    _exit(0);
}

static void fork_one(void)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        child(20);
    /* It runs beside us: what we free and clear now is still its own. */
    for (unsigned i = 0; i < 4; i++)
        renew(&blocks[below(N_BLOCKS)], i % 2 == 0);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "the child failed\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    unsigned n_steps = (unsigned)atoi(argv[1]);
    state = strtoull(argv[2], NULL, 10) | 1;
    for (unsigned step = 0; step < n_steps; step++) {
        unsigned i = (unsigned)below(N_BLOCKS);
        if (below(3) == 0)
            expect_as_left(&blocks[i], "not as left");
        renew(&blocks[i], step / PHASE_STEPS % 3 == 2);
        if (step % 50 == 49)
            fork_one();
        if (step % 40 == 39)
            usleep(20000); /* for the daemon: time is what it reclaims by */
    }
    for (unsigned i = 0; i < N_BLOCKS; i++)
        expect_as_left(&blocks[i], "not as left");
    return 0;
}
