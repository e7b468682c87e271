/* Latencies of one kind, and what is told of them. */
#ifndef HAKMEM_BENCH_SAMPLES_H
#define HAKMEM_BENCH_SAMPLES_H

#include <stddef.h>
#include <stdlib.h>

#include "bench/common.h"

struct samples {
    double *us;
    size_t n;
};

static inline struct samples samples_for(size_t capacity)
{
    return (struct samples){bench_pages(capacity * sizeof(double)), 0};
}

static inline void samples_add(struct samples *s, uint64_t began_ns, uint64_t ended_ns)
{
    s->us[s->n++] = (double)(ended_ns - began_ns) * 1e-3;
}

static inline int samples_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. share: 0.5 the median, 1 the worst. 0 if there are none. */
static inline double samples_percentile(struct samples *s, double share)
{
    if (s->n == 0)
        return 0;
    qsort(s->us, s->n, sizeof(*s->us), samples_compare);
    return s->us[(size_t)(share * (double)(s->n - 1))];
}

static inline double samples_sum(const struct samples *s)
{
    double total = 0;
    for (size_t i = 0; i < s->n; i++)
        total += s->us[i];
    return total;
}

#endif
