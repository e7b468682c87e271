/*
 * prog-large BYTES: allocates one block of so many, writes to each page of it, checks them and
 * frees it.
 */
#include <stdio.h>
#include <stdlib.h>

#define PAGE_BYTES 4096u

int main(int argc, char **argv)
{
    size_t n_bytes = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned char *block = malloc(n_bytes);
    if (n_bytes == 0 || !block)
        return 2;
    for (size_t at = 0; at < n_bytes; at += PAGE_BYTES) {
        if (block[at] != 0) {
            fprintf(stderr, "byte %zu is not zero\n", at);
            return 1;
        }
        block[at] = (unsigned char)(at / PAGE_BYTES % 251 + 1);
    }
    for (size_t at = 0; at < n_bytes; at += PAGE_BYTES) {
        if (block[at] != (unsigned char)(at / PAGE_BYTES % 251 + 1)) {
            fprintf(stderr, "byte %zu has changed\n", at);
            return 1;
        }
    }
    free(block);
    return 0;
}
