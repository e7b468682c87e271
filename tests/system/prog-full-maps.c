/*
 * prog-full-maps MIB: a program with MIB of blocks and then as many mappings as a process may have
 * forks. The child finds the blocks as they were, and writes to them; the parent does not see that.
 * Exit 0, 1 with what was wrong, 77 if the limit is too far off.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EACH = 1000, MAX_MAPPINGS = 300000 };

static unsigned char **blocks;
static size_t n_blocks;

static void check(const char *who)
{
    for (size_t i = 0; i < n_blocks; i++) {
        for (size_t k = 0; k < EACH; k++) {
            if (blocks[i][k] != i % 100) {
                fprintf(stderr, "%s: byte %zu of block %zu is wrong\n", who, k, i);
                _exit(1);
            }
        }
    }
}

/* By turns of two kinds, as neighbours of one kind are one mapping. */
static void fill_maps(void)
{
    size_t n = 0;
    while (mmap(NULL, 4096, n % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED) {
        if (++n > MAX_MAPPINGS) {
            fprintf(stderr, "this process may have more than %d mappings\n", MAX_MAPPINGS);
            exit(77);
        }
    }
}

int main(int argc, char **argv)
{
    int status;
    if (argc != 2)
        return 2;
    n_blocks = strtoull(argv[1], NULL, 10) * (1 << 20) / EACH;
    blocks = malloc(n_blocks * sizeof(*blocks));
    for (size_t i = 0; i < n_blocks; i++)
        blocks[i] = memset(malloc(EACH), (int)(i % 100), EACH);
    fill_maps();
    for (int round = 0; round < 2; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            check("the child");
            for (size_t i = 0; i < n_blocks; i++)
                memset(blocks[i], 0xee, EACH);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "the child ended with %x\n", status);
            return 1;
        }
        check("the parent");
    }
    return 0;
}
