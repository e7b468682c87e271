/*
 * compiler_tree: what a compiler asks of malloc: names interned as strings, syntax trees of small
 * nodes of many sizes built, rewritten and dropped function by function, and output text that grows
 * by realloc.
 *
 *   compiler_tree FUNCTIONS SEED
 */
#include "bench/common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_BUCKETS     4096u
#define MAX_DEPTH     11u
#define MAX_CHILDREN  5u
#define KEEP_FUNCTION 16u /* every so many functions' trees live on, as inline candidates do */

static const char usage[] = "FUNCTIONS SEED";

/* An interned name. Lives to the end, like a compiler's symbol table. */
struct name {
    struct name *next; /* bucket */
    uint32_t hash;
    uint32_t n_uses;
    char text[];
};

enum kind { KIND_CONSTANT, KIND_NAME, KIND_SUM, KIND_CALL };

struct node {
    enum kind kind;
    uint32_t n_children;
    union {
        int64_t value;
        struct name *name;
    };
    struct node *children[];
};

struct text {
    char *bytes;
    size_t n_bytes;
    size_t capacity;
};

static struct name *buckets[N_BUCKETS];
static uint64_t n_allocations;

static void *take(size_t n_bytes)
{
    n_allocations++;
    return bench_malloc(n_bytes);
}

static struct name *intern(const char *text)
{
    uint32_t hash = 2166136261u;
    for (const char *c = text; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 16777619u;
    struct name **bucket = &buckets[hash % N_BUCKETS];
    for (struct name *name = *bucket; name; name = name->next) {
        if (name->hash == hash && !strcmp(name->text, text)) {
            name->n_uses++;
            return name;
        }
    }
    size_t length = strlen(text) + 1;
    struct name *name = take(sizeof(*name) + length);
    *name = (struct name){.next = *bucket, .hash = hash, .n_uses = 1};
    memcpy(name->text, text, length);
    *bucket = name;
    return name;
}

/* The lexer copies each identifier before it knows whether it has seen it. */
static struct name *lex_name(uint64_t *state)
{
    char *spelling = take(48);
    uint64_t r = random_below(state, 6000);
    snprintf(spelling, 48, r % 3 ? "local_%llu" : "some_longer_global_name_%llu",
             (unsigned long long)r);
    struct name *name = intern(spelling);
    free(spelling);
    return name;
}

static struct node *new_node(enum kind kind, uint32_t n_children)
{
    struct node *node = take(sizeof(*node) + n_children * sizeof(node->children[0]));
    node->kind = kind;
    node->n_children = n_children;
    return node;
}

static struct node *parse(uint64_t *state, unsigned depth)
{
    uint64_t r = random_below(state, 16);
    if (depth == 0 || r == 0) {
        struct node *leaf = new_node(r & 1 ? KIND_NAME : KIND_CONSTANT, 0);
        if (leaf->kind == KIND_NAME)
            leaf->name = lex_name(state);
        else
            leaf->value = (int64_t)r;
        return leaf;
    }
    uint32_t n_children = r < 12 ? 2 : 1 + (uint32_t)random_below(state, MAX_CHILDREN);
    struct node *node = new_node(r < 12 ? KIND_SUM : KIND_CALL, n_children);
    if (node->kind == KIND_CALL)
        node->name = lex_name(state);
    else
        node->value = 0;
    for (uint32_t i = 0; i < n_children; i++)
        node->children[i] = parse(state, depth - (i > 2 && depth > 1 ? 2 : 1));
    return node;
}

static void drop(struct node *node)
{
    for (uint32_t i = 0; i < node->n_children; i++)
        drop(node->children[i]);
    free(node);
}

/* Constant folding: sums of constants become constants, other sums are rebuilt. Consumes the tree.
 */
static struct node *fold(struct node *node)
{
    bool all_constant = node->kind == KIND_SUM;
    int64_t sum = 0;
    for (uint32_t i = 0; i < node->n_children; i++) {
        node->children[i] = fold(node->children[i]);
        all_constant = all_constant && node->children[i]->kind == KIND_CONSTANT;
        sum += node->children[i]->kind == KIND_CONSTANT ? node->children[i]->value : 0;
    }
    if (all_constant) {
        struct node *constant = new_node(KIND_CONSTANT, 0);
        constant->value = sum;
        drop(node);
        return constant;
    }
    if (node->kind != KIND_SUM || node->n_children != 2)
        return node;
    struct node *rebuilt = new_node(KIND_SUM, 2);
    rebuilt->value = node->value;
    rebuilt->children[0] = node->children[1];
    rebuilt->children[1] = node->children[0];
    free(node);
    return rebuilt;
}

static void text_add(struct text *text, const char *piece)
{
    size_t length = strlen(piece);
    if (text->n_bytes + length + 1 > text->capacity) {
        text->capacity = text->capacity + text->capacity / 2 + length + 32;
        text->bytes = realloc(text->bytes, text->capacity);
        if (!text->bytes)
            bench_die("realloc");
        n_allocations++;
    }
    memcpy(text->bytes + text->n_bytes, piece, length + 1);
    text->n_bytes += length;
}

/* The text's value as a sum, to see that all of the tree is there and whole. */
static int64_t emit(const struct node *node, struct text *text)
{
    if (node->kind == KIND_CONSTANT) {
        text_add(text, "const ");
        return node->value;
    }
    text_add(text, node->kind == KIND_SUM ? "add " : node->name->text);
    int64_t sum = 0;
    for (uint32_t i = 0; i < node->n_children; i++)
        sum += emit(node->children[i], text);
    return sum;
}

static uint64_t compile(uint64_t seed, struct node **kept)
{
    uint64_t state = seed;
    struct node *tree = fold(parse(&state, MAX_DEPTH));
    struct text text = {NULL, 0, 0};
    uint64_t sum = (uint64_t)emit(tree, &text) + text.n_bytes;
    free(text.bytes);
    drop(*kept);
    *kept = tree;
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t n_functions = bench_argument(argc, argv, 1, usage);
    uint64_t seed = bench_argument(argc, argv, 2, usage);
    if (argc != 3)
        bench_usage(argv[0], usage);
    struct node *kept[KEEP_FUNCTION];
    struct bench b;
    bench_start(&b, "compiler_tree");
    for (unsigned i = 0; i < KEEP_FUNCTION; i++)
        kept[i] = new_node(KIND_CONSTANT, 0);
    uint64_t first = 0, sum = 0;
    for (uint64_t i = 0; i < n_functions; i++) {
        /* The same eight functions over and over: each time the result must be what it was. */
        uint64_t result = compile(random_seed(seed, i % 8), &kept[i % KEEP_FUNCTION]);
        sum += result;
        first += i < 8 ? result : 0;
    }
    bench_stop(&b);
    bench_mark_full(&b);
    if (n_functions % 8 == 0 && sum != first * (n_functions / 8))
        bench_corrupt(kept, "a tree's sum changed");
    bench_add(&b, "allocations", (double)n_allocations);
    return bench_report(&b, bench_rate(&b, (double)n_functions), "functions/s", kept[0]);
}
