/*
 * Spans and bins on private memory: blocks are distinct, come home from anywhere, empty spans give
 * their runs back, and what is freed wrongly is named. The heap beneath is set up as heap.c does
 * it.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "libclient/heap.h"
#include "libclient/runs.h"
#include "libclient/span.h"

static int compare(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return x < y ? -1 : x > y;
}

static void blocks_are_distinct_and_within_their_span(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        enum { N = 100 };
        void *blocks[N];
        unsigned got = 0;
        while (got < N) {
            unsigned n = span_take(0, class, blocks + got, N - got);
            assert_true(n > 0);
            got += n;
        }
        for (unsigned i = 0; i < N; i++) {
            assert_int_equal(window_class(blocks[i]), class);
            memset(blocks[i], 0x5a, sizeclass_bytes(class));
        }
        qsort(blocks, N, sizeof(*blocks), compare);
        for (unsigned i = 1; i < N; i++)
            assert_true((char *)blocks[i - 1] + sizeclass_bytes(class) <= (char *)blocks[i]);
        span_give(class, blocks, N);
    }
    span_trim();
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        uint64_t n_spans, n_out, n_bytes, n_blocks;
        span_stats(class, &n_spans, &n_out);
        span_sizes(class, &n_bytes, &n_blocks);
        assert_int_equal(n_spans, 0);
        assert_int_equal(n_out, 0);
        assert_int_equal(n_bytes, 0);
        assert_int_equal(n_blocks, 0);
    }
}

static void the_lowest_address_comes_last(void **state)
{
    (void)state;
    void *blocks[8];
    assert_int_equal(span_take(0, 4, blocks, 8), 8);
    for (unsigned i = 1; i < 8; i++)
        assert_true(blocks[i] < blocks[i - 1]);
    span_give(4, blocks, 8);
}

static void a_batch_goes_home_to_several_arenas(void **state)
{
    (void)state;
    void *blocks[30];
    for (unsigned arena = 0; arena < 3; arena++)
        span_open_arena(arena);
    for (unsigned arena = 0; arena < 3; arena++)
        assert_int_equal(span_take(arena, 7, blocks + arena * 10, 10), 10);
    for (unsigned i = 0; i < 30; i++) { /* mixed */
        void *other = blocks[i * 7 % 30];
        blocks[i * 7 % 30] = blocks[i];
        blocks[i] = other;
    }
    span_give(7, blocks, 30);
    uint64_t n_spans, n_out;
    span_stats(7, &n_spans, &n_out);
    assert_int_equal(n_out, 0);
}

static uint64_t bytes_of(unsigned class)
{
    uint64_t n_spans, n_out, n_bytes, n_blocks;
    span_stats(class, &n_spans, &n_out);
    span_sizes(class, &n_bytes, &n_blocks);
    assert_true(n_blocks >= n_out);
    assert_int_equal(n_bytes == 0, n_spans == 0);
    return n_bytes;
}

/* Of a class without blocks one span is kept, so that the next block does not take a new one: if it
 * is short, or of middling length and wanted again and again. */
static void an_empty_span_is_kept_if_it_is_short(void **state)
{
    (void)state;
    for (unsigned class = 1; class <= N_SMALL; class ++) {
        void *block;
        unsigned n_units = sizeclasses[class].n_least_units;
        for (unsigned n_gone = 0; n_gone < 6; n_gone++) {
            assert_int_equal(span_take(1, class, &block, 1), 1);
            assert_int_equal(bytes_of(class), n_units * UNIT_BYTES);
            span_give(class, &block, 1);
            assert_int_equal(bytes_of(class),
                             n_units <= 3 || n_gone >= 4 ? n_units * UNIT_BYTES : 0);
        }
        span_trim();
        assert_int_equal(bytes_of(class), 0);
    }
    assert_int_equal(sizeclasses[N_SMALL].n_least_units, 4); /* both were seen */
}

/* A usual one is longer than that. */
static void an_empty_span_that_is_long_goes(void **state)
{
    (void)state;
    enum { N = 60 };
    unsigned class = sizeclass_of(57344);
    void *blocks[N];
    assert_true(sizeclasses[class].n_units > 4);
    for (unsigned turn = 0; turn < 6; turn++) {
        unsigned n = 0;
        while (n < N)
            n += span_take(1, class, blocks + n, N - n);
        assert_true(bytes_of(class) >= N * (uint64_t)57344);
        /* The one of the last block to come home is of the usual length. */
        span_give(class, blocks, N);
        assert_int_equal(bytes_of(class), 0);
    }
}

/* Runs `misuse` in a child and compares its last words. */
static void expect_abort(void (*misuse)(void), const char *words)
{
    int ends[2];
    char said[512] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        misuse();
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], said, sizeof(said) - 1);
    close(ends[0]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(n > 0);
    assert_non_null(strstr(said, words));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void free_twice(void)
{
    void *block, *again;
    span_take(0, 9, &block, 1);
    again = block;
    span_give(9, &block, 1);
    span_give(9, &again, 1);
}

static void free_interior(void)
{
    void *block;
    span_take(0, 9, &block, 1);
    block = (char *)block + 16;
    span_give(9, &block, 1);
}

static void free_what_never_was(void)
{
    void *block;
    unsigned class =
        sizeclass_of(FEW_MAX_BYTES); /* several blocks to a span, one carved at a time */
    span_take(0, class, &block, 1);
    block = (char *)block + sizeclass_bytes(class);
    span_give(class, &block, 1);
}

static void misuse_is_named(void **state)
{
    (void)state;
    expect_abort(free_twice, "double free of 0x");
    expect_abort(free_interior, "invalid free: inside a block");
    expect_abort(free_what_never_was, "no block was ever allocated");
}

static void runs_merge_and_resize(void **state)
{
    (void)state;
    bool zero;
    char *first = runs_allocate(4, 1, CLASS_LARGE, false, &zero);
    assert_non_null(first);
    assert_true(runs_resize(first, 4, 6, CLASS_LARGE));
    assert_int_equal(window_class(first + 5 * UNIT_BYTES), CLASS_LARGE);
    assert_true(runs_resize(first, 6, 2, CLASS_LARGE));
    assert_int_equal(window_class(first + 2 * UNIT_BYTES), CLASS_NONE);
    char *second = runs_allocate(2, 1, CLASS_LARGE, false, &zero);
    assert_ptr_equal(second, first + 2 * UNIT_BYTES);
    assert_false(runs_resize(first, 2, 3, CLASS_LARGE));
    runs_free(first, 2);
    runs_free(second, 2);
    char *aligned = runs_allocate(1, 8, CLASS_LARGE, false, &zero);
    assert_int_equal((uintptr_t)aligned % (8 * UNIT_BYTES), 0);
    runs_free(aligned, 1);
}

int main(void)
{
    if (!heap_is_ready())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_distinct_and_within_their_span),
        cmocka_unit_test(the_lowest_address_comes_last),
        cmocka_unit_test(a_batch_goes_home_to_several_arenas),
        cmocka_unit_test(an_empty_span_is_kept_if_it_is_short),
        cmocka_unit_test(an_empty_span_that_is_long_goes),
        cmocka_unit_test(misuse_is_named),
        cmocka_unit_test(runs_merge_and_resize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
