/*
 * prog-few-descriptors MEBIBYTES N_FORKS: fills so much in blocks of 200,000 bytes; then forks, one
 * child after the other, and rewrites all of it after each. Each side checks every byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK_BYTES 200000u

static unsigned char **blocks;
static size_t n_blocks;

static void fill(unsigned char with)
{
    for (size_t i = 0; i < n_blocks; i++)
        memset(blocks[i], with, BLOCK_BYTES);
}

static int is_filled(unsigned char with)
{
    for (size_t i = 0; i < n_blocks; i++) {
        if (blocks[i][0] != with || memcmp(blocks[i], blocks[i] + 1, BLOCK_BYTES - 1) != 0)
            return 0;
    }
    return 1;
}

int main(int n_arguments, char **arguments)
{
    if (n_arguments < 3)
        return 2;
    n_blocks = (strtoul(arguments[1], NULL, 10) << 20) / BLOCK_BYTES;
    blocks = malloc(n_blocks * sizeof(*blocks));
    for (size_t i = 0; i < n_blocks; i++)
        blocks[i] = malloc(BLOCK_BYTES);
    fill('A');
    for (int i = 0; i < atoi(arguments[2]); i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            fill('c');
            _exit(!is_filled('c'));
        }
        waitpid(pid, &status, 0);
        if (status != 0 || !is_filled((unsigned char)('A' + i))) {
            fprintf(stderr, "fork %d: the child ended with %x\n", i, status);
            return 1;
        }
        fill((unsigned char)('A' + i + 1));
    }
    return 0;
}
