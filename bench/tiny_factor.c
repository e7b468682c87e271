/*
 * tiny_factor: factorisation with numbers that live in tiny blocks, every intermediate result a new
 * one. Pollard's rho (J. M. Pollard, "A Monte Carlo method for factorization", 1975) in Brent's
 * form over a schoolbook big-number type.
 *
 *   tiny_factor BITS NUMBERS SEED
 *
 * Factors NUMBERS products of two BITS-bit primes (20..40).
 */
#include "bench/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIMBS 8u
#define GCD_EVERY 64u

static const char usage[] = "BITS(20..40) NUMBERS SEED";

/* Little-endian, no leading zero limb; zero has no limbs. Immutable once made; 8 to 24 bytes. */
struct number {
    uint32_t n_limbs;
    uint32_t limbs[];
};

static uint64_t n_allocations;

static struct number *number_new(const uint32_t *limbs, uint32_t n_limbs)
{
    while (n_limbs && !limbs[n_limbs - 1])
        n_limbs--;
    n_allocations++;
    struct number *number = bench_malloc(sizeof(*number) + n_limbs * sizeof(uint32_t));
    number->n_limbs = n_limbs;
    memcpy(number->limbs, limbs, n_limbs * sizeof(uint32_t));
    return number;
}

static struct number *number_of(uint64_t value)
{
    return number_new((uint32_t[]){(uint32_t)value, (uint32_t)(value >> 32)}, 2);
}

static struct number *number_copy(const struct number *a)
{
    return number_new(a->limbs, a->n_limbs);
}

static int number_compare(const struct number *a, const struct number *b)
{
    if (a->n_limbs != b->n_limbs)
        return a->n_limbs < b->n_limbs ? -1 : 1;
    for (uint32_t i = a->n_limbs; i-- > 0;)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

static struct number *number_multiply(const struct number *a, const struct number *b)
{
    uint32_t product[MAX_LIMBS] = {0};
    for (uint32_t i = 0; i < a->n_limbs; i++) {
        uint64_t carry = 0;
        for (uint32_t j = 0; j < b->n_limbs; j++) {
            carry += (uint64_t)a->limbs[i] * b->limbs[j] + product[i + j];
            product[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product[i + b->n_limbs] = (uint32_t)carry;
    }
    return number_new(product, a->n_limbs + b->n_limbs);
}

/* a + b or |a - b| */
static struct number *number_add(const struct number *a, const struct number *b)
{
    uint32_t sum[MAX_LIMBS] = {0};
    uint64_t carry = 0;
    for (uint32_t i = 0; i < MAX_LIMBS; i++) {
        carry += i < a->n_limbs ? a->limbs[i] : 0;
        carry += i < b->n_limbs ? b->limbs[i] : 0;
        sum[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return number_new(sum, MAX_LIMBS);
}

static struct number *number_difference(const struct number *a, const struct number *b)
{
    if (number_compare(a, b) < 0) {
        const struct number *swap = a;
        a = b;
        b = swap;
    }
    uint32_t difference[MAX_LIMBS] = {0};
    int64_t borrow = 0;
    for (uint32_t i = 0; i < a->n_limbs; i++) {
        borrow += (int64_t)a->limbs[i] - (i < b->n_limbs ? b->limbs[i] : 0);
        difference[i] = (uint32_t)borrow;
        borrow >>= 32;
    }
    return number_new(difference, a->n_limbs);
}

/* a mod m, m of at most three limbs: the remainder limb by limb, as in long division. */
static struct number *number_modulo(const struct number *a, const struct number *m)
{
    unsigned __int128 modulus = 0, rest = 0;
    for (uint32_t i = m->n_limbs; i-- > 0;)
        modulus = modulus << 32 | m->limbs[i];
    for (uint32_t i = a->n_limbs; i-- > 0;)
        rest = (rest << 32 | a->limbs[i]) % modulus;
    uint32_t limbs[4];
    for (unsigned i = 0; i < 4; i++)
        limbs[i] = (uint32_t)(rest >> (32 * i));
    return number_new(limbs, 4);
}

/* Replaces *a by b, which it consumes. */
static void assign(struct number **a, struct number *b)
{
    free(*a);
    *a = b;
}

static struct number *number_gcd(const struct number *x, const struct number *y)
{
    struct number *a = number_copy(x), *b = number_copy(y);
    while (b->n_limbs) {
        struct number *rest = number_modulo(a, b);
        assign(&a, b);
        b = rest;
    }
    free(b);
    return a;
}

/* x * x + 1 mod n */
static struct number *rho_step(const struct number *x, const struct number *one,
                               const struct number *n)
{
    struct number *square = number_multiply(x, x);
    struct number *sum = number_add(square, one);
    struct number *next = number_modulo(sum, n);
    free(square);
    free(sum);
    return next;
}

/* A factor of n, maybe n itself. */
static struct number *rho(const struct number *n, uint64_t start)
{
    struct number *one = number_of(1), *y = number_of(start), *product = number_of(1), *x = NULL;
    struct number *factor = number_of(1);
    for (uint64_t power = 1; factor->n_limbs == 1 && factor->limbs[0] == 1; power *= 2) {
        assign(&x, number_copy(y));
        for (uint64_t i = 1; i <= power; i++) {
            assign(&y, rho_step(y, one, n));
            struct number *distance = number_difference(x, y);
            assign(&distance, number_multiply(product, distance));
            assign(&product, number_modulo(distance, n));
            free(distance);
            if (i % GCD_EVERY && i != power)
                continue;
            assign(&factor, number_gcd(product, n));
            if (factor->n_limbs != 1 || factor->limbs[0] != 1)
                break;
        }
    }
    free(one);
    free(y);
    free(x);
    free(product);
    return factor;
}

static uint64_t random_prime(uint64_t *state, unsigned bits)
{
    for (;;) {
        uint64_t candidate = random_next(state) >> (64 - bits) | UINT64_C(1) << (bits - 1) | 1;
        uint64_t divisor = 3;
        while (divisor * divisor <= candidate && candidate % divisor)
            divisor += 2;
        if (divisor * divisor > candidate)
            return candidate;
    }
}

int main(int argc, char **argv)
{
    uint64_t bits = bench_argument(argc, argv, 1, usage);
    uint64_t n_numbers = bench_argument(argc, argv, 2, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 3, usage), 0);
    if (argc != 4 || bits < 20 || bits > 40 || n_numbers > 1000)
        bench_usage(argv[0], usage);
    uint64_t primes[1000][2];
    for (uint64_t i = 0; i < n_numbers; i++)
        for (unsigned side = 0; side < 2; side++)
            primes[i][side] = random_prime(&state, (unsigned)bits);
    struct bench b;
    bench_start(&b, "tiny_factor");
    for (uint64_t i = 0; i < n_numbers; i++) {
        struct number *p = number_of(primes[i][0]), *q = number_of(primes[i][1]);
        struct number *n = number_multiply(p, q);
        struct number *factor = rho(n, 2 + i);
        struct number *rest = number_modulo(n, factor);
        bool divides = rest->n_limbs == 0;
        if (!divides ||
            (number_compare(factor, p) && number_compare(factor, q) && number_compare(factor, n)))
            bench_corrupt(factor, "not a factor");
        free(p), free(q), free(n), free(factor), free(rest);
    }
    bench_stop(&b);
    bench_add(&b, "allocations", (double)n_allocations);
    return bench_report(&b, (double)b.elapsed_ns * 1e-3, "us", NULL);
}
