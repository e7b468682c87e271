/*
 * logic_minimise: two-level minimisation of Boolean functions by Quine and McCluskey's method (E.
 * J. McCluskey, "Minimization of Boolean functions", 1956). Cubes are blocks of their own, in
 * growing sets that are built and dropped.
 *
 *   logic_minimise VARIABLES FUNCTIONS SEED
 */
#include "bench/common.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] = "VARIABLES(4..16) FUNCTIONS SEED";

/* A product term: where `care` has a one, the variable equals the bit in `value`. */
struct cube {
    uint32_t care;
    uint32_t value;
    bool merged;
    uint32_t n_covered; /* minterms listed below */
    uint32_t covered[];
};

struct cube_set {
    struct cube **cubes;
    size_t n_cubes;
    size_t capacity;
};

static uint64_t n_allocations;

static struct cube *cube_new(uint32_t care, uint32_t value, const struct cube *a,
                             const struct cube *b)
{
    uint32_t n_covered = a ? a->n_covered + b->n_covered : 1;
    n_allocations++;
    struct cube *cube = bench_malloc(sizeof(*cube) + n_covered * sizeof(uint32_t));
    *cube = (struct cube){.care = care, .value = value, .n_covered = n_covered};
    if (a) {
        memcpy(cube->covered, a->covered, a->n_covered * sizeof(uint32_t));
        memcpy(cube->covered + a->n_covered, b->covered, b->n_covered * sizeof(uint32_t));
    } else {
        cube->covered[0] = value;
    }
    return cube;
}

static void set_add(struct cube_set *set, struct cube *cube)
{
    if (set->n_cubes == set->capacity) {
        set->capacity = set->capacity ? 2 * set->capacity : 4;
        set->cubes = realloc(set->cubes, set->capacity * sizeof(*set->cubes));
        if (!set->cubes)
            bench_die("realloc");
        n_allocations++;
    }
    set->cubes[set->n_cubes++] = cube;
}

static bool set_has(const struct cube_set *set, uint32_t care, uint32_t value)
{
    for (size_t i = 0; i < set->n_cubes; i++)
        if (set->cubes[i]->care == care && set->cubes[i]->value == value)
            return true;
    return false;
}

/* Sets are kept by hash of (care, value): groups[hash]. */
static size_t group_of(uint32_t care, uint32_t value, size_t n_groups)
{
    return (size_t)((care * 0x9e3779b1u ^ value * 0x85ebca6bu) >> 7) & (n_groups - 1);
}

static struct cube *groups_find(struct cube_set *groups, size_t n_groups, uint32_t care,
                                uint32_t value)
{
    struct cube_set *set = &groups[group_of(care, value, n_groups)];
    for (size_t i = 0; i < set->n_cubes; i++)
        if (set->cubes[i]->care == care && set->cubes[i]->value == value)
            return set->cubes[i];
    return NULL;
}

/* One pass: every pair of cubes that differ in one variable becomes a cube without it. Number of
 * new cubes. */
static size_t merge_pass(struct cube_set *from, struct cube_set *to, size_t n_groups,
                         unsigned n_variables)
{
    size_t n_new = 0;
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < from[g].n_cubes; i++) {
            struct cube *a = from[g].cubes[i];
            for (unsigned v = 0; v < n_variables; v++) {
                uint32_t bit = 1u << v;
                if (!(a->care & bit) || (a->value & bit))
                    continue;
                struct cube *b = groups_find(from, n_groups, a->care, a->value | bit);
                if (!b)
                    continue;
                a->merged = b->merged = true;
                uint32_t care = a->care & ~bit;
                struct cube_set *set = &to[group_of(care, a->value, n_groups)];
                if (set_has(set, care, a->value))
                    continue;
                set_add(set, cube_new(care, a->value, a, b));
                n_new++;
            }
        }
    }
    return n_new;
}

/* Moves the unmerged cubes (prime implicants) out, drops the others and the sets' arrays. */
static void collect_primes(struct cube_set *groups, size_t n_groups, struct cube_set *primes)
{
    for (size_t g = 0; g < n_groups; g++) {
        for (size_t i = 0; i < groups[g].n_cubes; i++) {
            if (groups[g].cubes[i]->merged)
                free(groups[g].cubes[i]);
            else
                set_add(primes, groups[g].cubes[i]);
        }
        free(groups[g].cubes);
    }
    free(groups);
}

static struct cube_set *new_groups(size_t n_groups)
{
    n_allocations++;
    struct cube_set *groups = calloc(n_groups, sizeof(*groups));
    if (!groups)
        bench_die("calloc");
    return groups;
}

/* Greedy cover: the prime that covers most of what is left, until nothing is. Number of primes
 * taken. */
static unsigned cover(struct cube_set *primes, unsigned char *wanted, size_t n_wanted)
{
    unsigned n_taken = 0;
    while (n_wanted) {
        struct cube *best = NULL;
        uint32_t best_gain = 0;
        for (size_t i = 0; i < primes->n_cubes; i++) {
            struct cube *cube = primes->cubes[i];
            if (cube->n_covered <= best_gain)
                continue;
            uint32_t gain = 0;
            for (uint32_t c = 0; c < cube->n_covered; c++)
                gain += wanted[cube->covered[c]];
            if (gain > best_gain) {
                best_gain = gain;
                best = cube;
            }
        }
        if (!best)
            bench_corrupt(primes, "a minterm is in no prime implicant");
        for (uint32_t c = 0; c < best->n_covered; c++) {
            if ((best->covered[c] & best->care) != best->value)
                bench_corrupt(best, "a cube covers what it should not");
            wanted[best->covered[c]] = 0;
        }
        n_wanted -= best_gain;
        n_taken++;
    }
    return n_taken;
}

static unsigned minimise(unsigned n_variables, uint64_t *state)
{
    size_t n_points = (size_t)1 << n_variables, n_groups = n_points, n_wanted = 0;
    uint32_t all = (uint32_t)n_points - 1;
    unsigned char *wanted = calloc(n_points, 1);
    struct cube_set *groups = new_groups(n_groups), primes = {NULL, 0, 0};
    if (!wanted)
        bench_die("calloc");
    for (uint32_t point = 0; point < n_points; point++) {
        if (random_below(state, 100) < 55) {
            set_add(&groups[group_of(all, point, n_groups)], cube_new(all, point, NULL, NULL));
            wanted[point] = 1;
            n_wanted++;
        }
    }
    for (size_t n_new = n_wanted; n_new;) {
        struct cube_set *next = new_groups(n_groups);
        n_new = merge_pass(groups, next, n_groups, n_variables);
        collect_primes(groups, n_groups, &primes);
        groups = next;
    }
    collect_primes(groups, n_groups, &primes);
    unsigned n_taken = cover(&primes, wanted, n_wanted);
    for (size_t i = 0; i < primes.n_cubes; i++)
        free(primes.cubes[i]);
    free(primes.cubes);
    free(wanted);
    return n_taken;
}

int main(int argc, char **argv)
{
    uint64_t n_variables = bench_argument(argc, argv, 1, usage);
    uint64_t n_functions = bench_argument(argc, argv, 2, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 3, usage), 0);
    if (argc != 4 || n_variables < 4 || n_variables > 16)
        bench_usage(argv[0], usage);
    struct bench b;
    unsigned n_taken = 0;
    bench_start(&b, "logic_minimise");
    for (uint64_t i = 0; i < n_functions; i++)
        n_taken += minimise((unsigned)n_variables, &state);
    bench_stop(&b);
    bench_add(&b, "allocations", (double)n_allocations);
    bench_add(&b, "product_terms", n_taken);
    return bench_report(&b, (double)b.elapsed_ns * 1e-3, "us", NULL);
}
