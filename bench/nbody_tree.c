/*
 * nbody_tree: bodies under gravity by Barnes and Hut's method ("A hierarchical O(N log N)
 * force-calculation algorithm", 1986): a tree of cells built with malloc at each step and dropped
 * after it. Mostly arithmetic, as real programs are.
 *
 *   nbody_tree BODIES STEPS SEED
 */
#include "bench/common.h"

#include <math.h>
#include <stdlib.h>

#define THETA_SQUARED 1.44
#define SOFTENING     1e-4
#define MAX_DEPTH     40

static const char usage[] = "BODIES STEPS SEED";

struct body {
    double at[3];
    double speed[3];
    double mass;
};

/* A cell holds one body or eight children (some NULL). */
struct cell {
    double centre[3]; /* of mass */
    double mass;
    struct body *body;
    struct cell **children; /* NULL: a leaf */
};

static uint64_t n_allocations;

static struct cell *cell_new(struct body *body)
{
    n_allocations++;
    struct cell *cell = bench_malloc(sizeof(*cell));
    *cell = (struct cell){.body = body};
    return cell;
}

static unsigned octant(const struct body *body, const double middle[3])
{
    unsigned which = 0;
    for (unsigned axis = 0; axis < 3; axis++)
        which |= (unsigned)(body->at[axis] > middle[axis]) << axis;
    return which;
}

static void insert(struct cell *cell, struct body *body, const double middle[3], double half,
                   int depth);

static void insert_below(struct cell *cell, struct body *body, const double middle[3], double half,
                         int depth)
{
    unsigned which = octant(body, middle);
    double next[3];
    for (unsigned axis = 0; axis < 3; axis++)
        next[axis] = middle[axis] + (which >> axis & 1 ? half : -half) / 2;
    if (!cell->children[which])
        cell->children[which] = cell_new(body);
    else
        insert(cell->children[which], body, next, half / 2, depth + 1);
}

static void insert(struct cell *cell, struct body *body, const double middle[3], double half,
                   int depth)
{
    if (!cell->children) {
        if (depth >= MAX_DEPTH)
            return; /* two bodies in one place: the second weighs nothing this step */
        n_allocations++;
        cell->children = calloc(8, sizeof(*cell->children));
        if (!cell->children)
            bench_die("calloc");
        insert_below(cell, cell->body, middle, half, depth);
        cell->body = NULL;
    }
    insert_below(cell, body, middle, half, depth);
}

/* Mass and centre of mass, bottom up. */
static void weigh(struct cell *cell)
{
    if (!cell->children) {
        cell->mass = cell->body->mass;
        for (unsigned axis = 0; axis < 3; axis++)
            cell->centre[axis] = cell->body->at[axis];
        return;
    }
    for (unsigned i = 0; i < 8; i++) {
        struct cell *child = cell->children[i];
        if (!child)
            continue;
        weigh(child);
        cell->mass += child->mass;
        for (unsigned axis = 0; axis < 3; axis++)
            cell->centre[axis] += child->mass * child->centre[axis];
    }
    for (unsigned axis = 0; axis < 3; axis++)
        cell->centre[axis] /= cell->mass;
}

static void pull(struct body *body, const struct cell *cell, double width, double step)
{
    double way[3], squared = SOFTENING;
    for (unsigned axis = 0; axis < 3; axis++) {
        way[axis] = cell->centre[axis] - body->at[axis];
        squared += way[axis] * way[axis];
    }
    if (!cell->children || width * width < THETA_SQUARED * squared) {
        double force = step * cell->mass / (squared * sqrt(squared));
        for (unsigned axis = 0; axis < 3; axis++)
            body->speed[axis] += force * way[axis];
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        if (cell->children[i])
            pull(body, cell->children[i], width / 2, step);
}

static void drop(struct cell *cell)
{
    if (cell->children) {
        for (unsigned i = 0; i < 8; i++)
            if (cell->children[i])
                drop(cell->children[i]);
        free(cell->children);
    }
    free(cell);
}

static void simulate(struct body *bodies, uint64_t n_bodies, double step)
{
    static const double middle[3] = {0, 0, 0};
    double half = 1e-9;
    for (uint64_t i = 0; i < n_bodies; i++)
        for (unsigned axis = 0; axis < 3; axis++)
            half = fmax(half, fabs(bodies[i].at[axis]));
    struct cell *root = cell_new(&bodies[0]);
    for (uint64_t i = 1; i < n_bodies; i++)
        insert(root, &bodies[i], middle, half, 0);
    weigh(root);
    if (fabs(root->mass - 1.0) > 1e-6)
        bench_corrupt(root, "mass was lost");
    for (uint64_t i = 0; i < n_bodies; i++)
        pull(&bodies[i], root, 2 * half, step);
    for (uint64_t i = 0; i < n_bodies; i++)
        for (unsigned axis = 0; axis < 3; axis++)
            bodies[i].at[axis] += step * bodies[i].speed[axis];
    drop(root);
}

int main(int argc, char **argv)
{
    uint64_t n_bodies = bench_argument(argc, argv, 1, usage);
    uint64_t n_steps = bench_argument(argc, argv, 2, usage);
    uint64_t state = random_seed(bench_argument(argc, argv, 3, usage), 0);
    if (argc != 4)
        bench_usage(argv[0], usage);
    struct body *bodies = bench_pages(n_bodies * sizeof(*bodies));
    for (uint64_t i = 0; i < n_bodies; i++) {
        bodies[i].mass = 1.0 / (double)n_bodies;
        for (unsigned axis = 0; axis < 3; axis++)
            bodies[i].at[axis] = (double)random_below(&state, 1u << 20) / (1u << 19) - 1.0;
    }
    struct bench b;
    bench_start(&b, "nbody_tree");
    for (uint64_t i = 0; i < n_steps; i++)
        simulate(bodies, n_bodies, 1e-3);
    bench_stop(&b);
    bench_add(&b, "allocations", (double)n_allocations);
    return bench_report(&b, (double)b.elapsed_ns * 1e-3, "us", NULL);
}
