/*
 * bench/random_mixed.c with a system call at half time and one at the end, by which a trace of the
 * run can be cut: access("/hakmem-mark-half") and access("/hakmem-mark-end").
 *
 *   prog-random-mixed-marked ITERATIONS WORKING_SET SEED
 */
#include "tests/system/random.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    uint64_t n_iterations = strtoull(argv[1], NULL, 10);
    uint64_t n_slots = strtoull(argv[2], NULL, 10);
    uint64_t state = strtoull(argv[3], NULL, 10);
    /* Not from the allocator under test. */
    unsigned char **slots = mmap(NULL, n_slots * sizeof(*slots), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (slots == MAP_FAILED || !n_iterations || !n_slots)
        return 2;
    for (uint64_t i = 0; i < n_iterations; i++) {
        if (i == n_iterations / 2)
            access("/hakmem-mark-half", F_OK);
        uint64_t r = random_next(&state);
        uint64_t slot = (uint64_t)(((unsigned __int128)(r >> 32) * n_slots) >> 32);
        if (slots[slot]) {
            free(slots[slot]);
            slots[slot] = NULL;
            continue;
        }
        size_t n_bytes = 16 + (r & 1023);
        unsigned char *block = malloc(n_bytes);
        if (!block)
            return 1;
        block[0] = (unsigned char)r;
        block[n_bytes - 1] = (unsigned char)(r >> 8);
        slots[slot] = block;
    }
    access("/hakmem-mark-end", F_OK);
    for (uint64_t slot = 0; slot < n_slots; slot++)
        free(slots[slot]);
    return 0;
}
