/*
 * A program led by the hand: reads commands from standard input, one a line, and answers each with
 * "ok" on standard output.
 *
 *   grow MIB    allocates that much more, in blocks of all sizes, and fills it
 *   check       looks at every byte of every block
 *   free        frees every other block, so that SuperSlabs empty and memory stays in use
 *   drop        frees them all
 *
 * Exit 0 at the end of input; 1 with "corruption" or "out of memory".
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_BLOCKS = 200000 };

static unsigned char *blocks[MAX_BLOCKS];
static size_t sizes[MAX_BLOCKS], n_blocks;

static void fail(const char *what, size_t i)
{
    printf("%s: block %zu\n", what, i);
    exit(1);
}

static void grow(size_t n_bytes)
{
    for (size_t got = 0; got < n_bytes && n_blocks < MAX_BLOCKS; n_blocks++) {
        size_t i = n_blocks;
        sizes[i] = i % 50 == 0 ? 3000000 : i % 9 == 0 ? 70000 : 100 + i * 7919 % 9000;
        blocks[i] = malloc(sizes[i]);
        if (!blocks[i])
            fail("out of memory", i);
        memset(blocks[i], (int)(i * 31 | 1), sizes[i]);
        got += sizes[i];
    }
}

static void check(void)
{
    for (size_t i = 0; i < n_blocks; i++)
        for (size_t j = 0; blocks[i] && j < sizes[i]; j++)
            if (blocks[i][j] != (unsigned char)(i * 31 | 1))
                fail("corruption", i);
}

static void release(size_t every)
{
    for (size_t i = 0; i < n_blocks; i++)
        if (i / 200 % every == 0) {
            free(blocks[i]);
            blocks[i] = NULL;
        }
}

int main(void)
{
    char line[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof(line), stdin)) {
        if (strncmp(line, "grow ", 5) == 0)
            grow(strtoull(line + 5, NULL, 10) << 20);
        else if (strcmp(line, "check\n") == 0)
            check();
        else if (strcmp(line, "free\n") == 0)
            release(2);
        else if (strcmp(line, "drop\n") == 0)
            release(1);
        else
            return 2;
        puts("ok");
    }
    return 0;
}
