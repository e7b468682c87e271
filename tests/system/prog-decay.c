/* Grows to so many bytes, frees all of it, and waits for its standard input to say or end; around
 * the wait it makes marks for a trace, with what is resident then. Usage: prog-decay BYTES */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_MAX 1000000

static char *blocks[N_MAX];

int main(int argc, char **argv)
{
    size_t n_bytes = strtoull(argc > 1 ? argv[1] : "0", NULL, 10), n_taken = 0;
    int n = 0;
    char word;
    while (n_taken < n_bytes && n < N_MAX) {
        size_t size = 16 + (size_t)n * 7919 % 6000;
        if (!(blocks[n] = malloc(size)))
            return 1;
        memset(blocks[n++], 0x5a, size);
        n_taken += size;
    }
    while (n > 0)
        free(blocks[--n]);
    access("hakmem-mark-freed", F_OK);
    if (read(STDIN_FILENO, &word, 1) < 0)
        return 1;
    access("hakmem-mark-decayed", F_OK);
    return 0;
}
