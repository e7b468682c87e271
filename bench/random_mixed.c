/*
 * random_mixed: the workload of the profile that hakmem grew out of. A random slot of WORKING_SET:
 * free its block if it has one, else allocate 16..1039 bytes and write the first and the last byte.
 *
 *   random_mixed ITERATIONS WORKING_SET SEED
 *
 * The same sequence for the same arguments, whatever the allocator. Built twice: on the system
 * malloc, and linked with libhakmem.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled".
 */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t parse_count(const char *text, const char *what)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || value == 0 || value > (UINT64_C(1) << 40)) {
        fprintf(stderr, "random_mixed: %s: not a positive number: %s\n", what, text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s ITERATIONS WORKING_SET SEED\n", argv[0]);
        return 2;
    }
    uint64_t n_iterations = parse_count(argv[1], "ITERATIONS");
    uint64_t n_slots = parse_count(argv[2], "WORKING_SET");
    uint64_t state = parse_count(argv[3], "SEED");

    /* Not from the allocator under test. */
    unsigned char **slots = mmap(NULL, n_slots * sizeof(*slots), PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (slots == MAP_FAILED) {
        perror("random_mixed: slots");
        return 1;
    }

    double started = seconds_now();
    for (uint64_t i = 0; i < n_iterations; i++) {
        uint64_t r = random_next(&state);
        /* High bits pick the slot by multiplication: no division in the loop. */
        uint64_t slot = (uint64_t)(((unsigned __int128)(r >> 32) * n_slots) >> 32);
        if (slots[slot]) {
            free(slots[slot]);
            slots[slot] = NULL;
            continue;
        }
        size_t n_bytes = 16 + (r & 1023);
        unsigned char *block = malloc(n_bytes);
        if (!block) {
            fprintf(stderr, "random_mixed: out of memory\n");
            return 1;
        }
        block[0] = (unsigned char)r;
        block[n_bytes - 1] = (unsigned char)(r >> 8);
        slots[slot] = block;
    }
    double elapsed = seconds_now() - started;

    for (uint64_t slot = 0; slot < n_slots; slot++)
        free(slots[slot]);
    printf("Throughput = %.0f ops/s [iter=%llu ws=%llu] time=%.3fs\n",
           (double)n_iterations / elapsed, (unsigned long long)n_iterations,
           (unsigned long long)n_slots, elapsed);
    return 0;
}
