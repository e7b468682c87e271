/*
 * seed_targets: the wishes of the report that hakmem grew out of that are not a share of time:
 * prewarming on request, the sizes that fell through, look-up that does not grow with the heap,
 * figures per class, misuse that is named.
 *
 *   seed_targets
 *
 * Run with libhakmem preloaded, by `make profile`. Prints one JSON object per wish: {"target",
 * "measured", "reached"}.
 */
#include "bench/common.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hakmem.h"

#define N_BLOCKS     50000u
#define N_LOOKUPS    2000000u
#define PREWARM      ((size_t)64 << 20)
#define LOOKUP_SLACK 3.0 /* cache misses are not what is measured */

struct api {
    enum hak_owner (*owns)(const void *pointer);
    int (*prewarm_init)(size_t n_bytes);
    int (*prewarm_class)(size_t size, size_t count);
    int (*stats)(struct hak_stats *stats, size_t size);
    int (*stats_class)(size_t index, struct hak_class_stats *stats);
};

static void *need(const char *name)
{
    void *function = dlsym(RTLD_DEFAULT, name);
    if (!function) {
        fprintf(stderr, "seed_targets: no %s: is libhakmem preloaded?\n", name);
        exit(1);
    }
    return function;
}

static void tell(const char *target, const char *measured, bool reached)
{
    printf("{\"target\": \"%s\", \"measured\": \"%s\", \"reached\": %s}\n", target, measured,
           reached ? "true" : "false");
}

static struct hak_stats stats_now(const struct api *api)
{
    struct hak_stats stats;
    if (api->stats(&stats, sizeof(stats)))
        bench_die("hak_stats");
    return stats;
}

/* After prewarming, allocating that much must not call the kernel more than now and then. */
static void try_prewarm(const struct api *api, void **blocks)
{
    char text[200];
    int r = api->prewarm_init(PREWARM);
    int r_class = api->prewarm_class(1024, 1000);
    uint64_t before = stats_now(api).syscalls;
    size_t n_bytes = 0;
    unsigned n = 0;
    while (n_bytes < PREWARM / 2 && n < N_BLOCKS) {
        blocks[n] = bench_malloc(1024);
        block_stamp(blocks[n++], 1024, 1);
        n_bytes += 1024;
    }
    uint64_t n_calls = stats_now(api).syscalls - before;
    while (n)
        free(blocks[--n]);
    snprintf(text, sizeof(text),
             "returned %d and %d; then %zu MiB in 1024-byte blocks cost %llu system calls", r,
             r_class, n_bytes >> 20, (unsigned long long)n_calls);
    tell("hak_ss_prewarm_init(), hak_ss_prewarm_class(): later allocations find memory ready", text,
         r == 0 && r_class == 0 && n_calls <= 2);
}

/* The sizes that fell back to mmap one by one: 1025..1040. */
static void try_class_1024(const struct api *api, void **blocks)
{
    char text[200];
    struct hak_stats before = stats_now(api);
    unsigned n_foreign = 0;
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        size_t n_bytes = 1025 + i % 16;
        blocks[i] = bench_malloc(n_bytes);
        block_stamp(blocks[i], n_bytes, (uint8_t)i);
        n_foreign += api->owns(blocks[i]) == HAK_OWNER_NONE;
    }
    struct hak_stats after = stats_now(api);
    double per_1000 = (double)(after.syscalls - before.syscalls) * 1000 / N_BLOCKS;
    for (unsigned i = 0; i < N_BLOCKS; i++)
        free(blocks[i]);
    snprintf(text, sizeof(text),
             "%u blocks, %u not from a SuperSlab, %.2f system calls per 1000, %llu fallbacks",
             N_BLOCKS, n_foreign, per_1000,
             (unsigned long long)(after.fallbacks - before.fallbacks));
    tell("sizes 1025..1040 are served from SuperSlabs", text, n_foreign == 0 && per_1000 < 5);
}

/* Nanoseconds of one look-up among n blocks. */
static double lookup_ns(const struct api *api, void **blocks, unsigned n)
{
    unsigned n_owned = 0;
    uint64_t began = bench_now_ns();
    for (unsigned i = 0; i < N_LOOKUPS; i++)
        n_owned += api->owns(blocks[i % n]) != HAK_OWNER_NONE;
    double took = (double)(bench_now_ns() - began) / N_LOOKUPS;
    if (n_owned != N_LOOKUPS)
        bench_corrupt(blocks, "hak_owns does not know its own block");
    return took;
}

static void try_lookup(const struct api *api, void **blocks)
{
    char text[200];
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        size_t n_bytes = i < 100 ? 100 : 8000;
        blocks[i] = bench_malloc(n_bytes);
        block_stamp(blocks[i], n_bytes, 1);
    }
    double few = lookup_ns(api, blocks, 100), many = lookup_ns(api, blocks, N_BLOCKS);
    for (unsigned i = 0; i < N_BLOCKS; i++)
        free(blocks[i]);
    snprintf(text, sizeof(text), "%.1f ns among 100 blocks, %.1f ns among %u in %u MiB", few, many,
             N_BLOCKS, N_BLOCKS / 131);
    tell("look-up of a pointer is O(1), and says which path served it", text,
         many < LOOKUP_SLACK * few + 10);
}

static void try_class_figures(const struct api *api, void **blocks)
{
    char text[200];
    for (unsigned i = 0; i < 10000; i++) {
        blocks[i] = bench_malloc(1030);
        block_stamp(blocks[i], 1030, 1);
    }
    for (unsigned i = 0; i < 10000; i += 2)
        free(blocks[i]);
    struct hak_class_stats found = {0}, one;
    for (size_t class = 0; class < stats_now(api).n_classes; class ++)
        if (!api->stats_class(class, &one) && one.block_bytes >= 1030 &&
            (!found.block_bytes || one.block_bytes < found.block_bytes))
            found = one;
    for (unsigned i = 1; i < 10000; i += 2)
        free(blocks[i]);
    size_t n_free = found.cached_blocks + found.free_blocks;
    snprintf(text, sizeof(text), "class of %zu bytes: %zu live, %zu cached, %zu free in spans",
             found.block_bytes, found.live_blocks, found.cached_blocks, found.free_blocks);
    tell("free blocks are counted per class", text, found.live_blocks >= 5000 && n_free >= 5000);
}

#define N_MISUSE 20000

/* More frees than any cache holds: who does not see it at once sees it when the cache is flushed.
 */
static void double_free(void)
{
    static void *blocks[N_MISUSE];
    for (int i = 0; i < N_MISUSE; i++)
        blocks[i] = bench_malloc(100);
    free(blocks[7]);
    for (int i = 0; i < N_MISUSE; i++) {
        void *volatile block = blocks[i];
        free(block);
    }
}

/* Runs `misuse` in a child; what it wrote to standard error before it died. */
static void try_misuse(const char *target, void (*misuse)(void), const char *expected)
{
    char output[600] = "", text[700];
    int ends[2];
    if (pipe(ends))
        bench_die("pipe");
    pid_t child = fork();
    if (child < 0)
        bench_die("fork");
    if (child == 0) {
        dup2(ends[1], 2);
        misuse();
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], output, sizeof(output) - 1);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    output[n > 0 ? n : 0] = '\0';
    for (char *c = output; *c; c++)
        if (*c == '"' || *c == '\\' || (unsigned char)*c < ' ')
            *c = *c == '\n' ? ' ' : '\'';
    snprintf(text, sizeof(text), "%s: %s", WIFSIGNALED(status) ? "stopped" : "went on", output);
    tell(target, text, WIFSIGNALED(status) && strstr(output, expected));
}

int main(void)
{
    struct api api;
    *(void **)&api.owns = need("hak_owns");
    *(void **)&api.prewarm_init = need("hak_ss_prewarm_init");
    *(void **)&api.prewarm_class = need("hak_ss_prewarm_class");
    *(void **)&api.stats = need("hak_stats");
    *(void **)&api.stats_class = need("hak_stats_class");
    void **blocks = bench_pages(N_BLOCKS * sizeof(*blocks));
    try_prewarm(&api, blocks);
    try_class_1024(&api, blocks);
    try_lookup(&api, blocks);
    try_class_figures(&api, blocks);
    fflush(stdout); /* before the fork */
    try_misuse("misuse is stopped and named (double free)", double_free, "double free");
    return 0;
}
