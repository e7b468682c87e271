/*
 * Leaves traces in its heap, or looks for somebody else's. For whatever allocator this program runs
 * on.
 *
 *   prog-traces leave MIB   fills MIB of blocks of many sizes with the pattern and ends without
 * freeing any prog-traces seek MIB    allocates MIB without writing to it and counts the pattern in
 * it
 *
 * Prints the number of 8-byte words that hold the pattern: as many as were written, or found.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t pattern = UINT64_C(0x5ec2e7ab1e5ec2e7);

static const size_t sizes[] = {64, 1000, 4096, 30000, 200000, 3000000};

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    size_t wanted = (size_t)atol(argv[2]) << 20, total = 0;
    uint64_t n_words = 0;
    int leave = strcmp(argv[1], "leave") == 0;
    for (size_t i = 0; total < wanted; i++) {
        size_t n_bytes = sizes[i % (sizeof(sizes) / sizeof(sizes[0]))];
        uint64_t *block = malloc(n_bytes);
        if (!block)
            return 1;
        for (size_t k = 0; k < n_bytes / 8; k++) {
            if (leave)
                ((volatile uint64_t *)block)[k] = pattern;
            n_words += ((volatile uint64_t *)block)[k] == pattern;
        }
        total += n_bytes;
    }
    printf("%llu\n", (unsigned long long)n_words);
    return 0;
}
