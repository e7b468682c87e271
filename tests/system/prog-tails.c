/*
 * prog-tails BYTES N: allocates N blocks of so many, writes to each page of them and to the last
 * byte that malloc_usable_size() promises, checks them and frees them; three times.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGE_BYTES 4096u

static size_t n_bytes;

static unsigned char *take(int is_first)
{
    unsigned char *block = malloc(n_bytes);
    if (!block)
        exit(2);
    for (size_t at = 0; at < n_bytes; at += PAGE_BYTES) {
        if (is_first && block[at] != 0) {
            fprintf(stderr, "byte %zu is not zero\n", at);
            exit(1);
        }
        block[at] = (unsigned char)(at / PAGE_BYTES % 251 + 1);
    }
    block[malloc_usable_size(block) - 1] = 252;
    return block;
}

static void check(const unsigned char *block)
{
    for (size_t at = 0; at < n_bytes; at += PAGE_BYTES) {
        if (block[at] != (unsigned char)(at / PAGE_BYTES % 251 + 1)) {
            fprintf(stderr, "byte %zu has changed\n", at);
            exit(1);
        }
    }
    if (block[malloc_usable_size((void *)block) - 1] != 252) {
        fprintf(stderr, "the last byte has changed\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    n_bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    unsigned char **blocks = calloc(n, sizeof(*blocks));
    if (n_bytes == 0 || n == 0 || !blocks)
        return 2;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < n; i++)
            blocks[i] = take(round == 0);
        for (size_t i = 0; i < n; i++)
            check(blocks[i]);
        for (size_t i = 0; i < n; i++)
            free(blocks[i]);
    }
    free(blocks);
    return 0;
}
