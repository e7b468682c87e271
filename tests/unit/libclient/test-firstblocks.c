/*
 * The first blocks: that they lie side by side, that what a right program may do with them is never
 * taken for misuse, that they are counted, and that each kind of misuse is named. A child does what
 * must be stopped, and what takes blocks: each has a fresh heap.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libclient/cache.h"
#include "libclient/firstblocks.h"
#include "libclient/firstregion.h"
#include "libclient/heap.h"
#include "libclient/span.h"
#include "libclient/stats.h"

static void *take(size_t n_bytes)
{
    bool zero;
    void *block = cache_take(n_bytes);
    return block ? block : heap_allocate(n_bytes, 16, false, &zero);
}

static void give(void *block)
{
    if (!cache_give(block))
        heap_free(block);
}

/* Runs `what` in a child. What it wrote to standard error, and how it ended. */
static int in_child(void (*what)(void), char *messages, size_t size)
{
    int ends[2], status;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        what();
        cache_check_own();
        _exit(0);
    }
    close(ends[1]);
    size_t got = 0;
    for (ssize_t n; got < size - 1 && (n = read(ends[0], messages + got, size - 1 - got)) > 0;)
        got += (size_t)n;
    messages[got] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void expect_abort(void (*misuse)(void), const char *words)
{
    char messages[512];
    int status = in_child(misuse, messages, sizeof(messages));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    if (!strstr(messages, words))
        fail_msg("expected \"%s\": %s", words, messages);
}

static void expect_peace(void (*rightful)(void))
{
    char messages[512];
    int status = in_child(rightful, messages, sizeof(messages));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("stopped: %s", messages);
}

/* In a child, which cmocka's own would leave by a jump. */
static void must(bool holds)
{
    if (!holds)
        abort();
}

/* Of all watched sizes: every byte of blocks in use, in all orders of a few frees. */
static void use_every_byte(void)
{
    for (size_t n_bytes = 0; n_bytes <= CACHE_FAST_MAX_BYTES; n_bytes += 1 + n_bytes / 40) {
        char *blocks[6];
        for (int i = 0; i < 6; i++)
            memset(blocks[i] = take(n_bytes), 0x5a, n_bytes);
        for (int i = 0; i < 6; i++)
            give(blocks[(i * 5 + 1) % 6]);
    }
}

static void use_lent_slack(void)
{
    for (size_t n_bytes = 0; n_bytes <= CACHE_FAST_MAX_BYTES; n_bytes += 1 + n_bytes / 16) {
        char *block = take(n_bytes);
        memset(block, 1, heap_usable(block));
        give(block);
    }
}

static void resize_in_place(void)
{
    for (unsigned class = 9; class <= FIRSTBLOCKS_LAST_CLASS; class ++) {
        size_t n_bytes = sizeclass_bytes(class), low = sizeclass_bytes(class - 1) + 1;
        char *block = take(low), *there = heap_resize(block, n_bytes);
        must(there == block);
        memset(there, 1, n_bytes);
        must(heap_resize(block, low) == block);
        memset(block, 1, low);
        give(block);
    }
}

static void *use_from_another_thread(void *data)
{
    char **blocks = data;
    memset(blocks[0], 1, heap_usable(blocks[0]));
    memset(heap_resize(blocks[1], 112), 1, 112);
    give(blocks[2]);
    for (int i = 0; i < 100; i++)
        memset(take(100 + (size_t)i % 13), 1, 100 + (size_t)i % 13);
    return NULL;
}

static pthread_barrier_t barrier;

/* What the main thread asked 100 bytes for comes out again, for 112. */
static void *free_and_take_again(void *data)
{
    give(*(char **)data);
    memset(take(112), 1, 112);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void hand_over_to_another_thread(void)
{
    char *block = take(100);
    pthread_t thread;
    must(pthread_barrier_init(&barrier, NULL, 2) == 0);
    must(pthread_create(&thread, NULL, free_and_take_again, &block) == 0);
    pthread_barrier_wait(&barrier);
    cache_check_own(); /* while the thread lives */
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

static void use_in_two_threads(void)
{
    char *blocks[3];
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        blocks[i] = take(100);
    must(pthread_create(&thread, NULL, use_from_another_thread, blocks) == 0);
    pthread_join(thread, NULL);
    cache_check_own();
    for (int i = 0; i < 100; i++)
        give(take(100));
    give(blocks[0]);
    give(blocks[1]);
}

static void right_programs_go_on(void **state)
{
    (void)state;
    expect_peace(use_every_byte);
    expect_peace(use_lent_slack);
    expect_peace(resize_in_place);
    expect_peace(use_in_two_threads);
    expect_peace(hand_over_to_another_thread);
}

/* One of each class, and no class has a span. */
static void take_one_of_each(void)
{
    uint64_t n_spans, n_out;
    char *first = NULL, *last = NULL;
    size_t n_bytes = 0;
    for (unsigned class = 1; class <= FIRSTBLOCKS_LAST_CLASS; class ++) {
        last = take(sizeclass_bytes(class));
        must(window_class(last) == CLASS_FIRST);
        first = first ? first : last;
        span_stats(class, &n_spans, &n_out);
        must(n_spans == 0 && n_out == 0);
        must(last == first + n_bytes);
        n_bytes += sizeclass_bytes(class) + FIRSTBLOCKS_RED_BYTES;
    }
}

/* A class that needs more gets a span, from then on; blocks of others go on to be had. */
static void take_many_of_one(void)
{
    unsigned n_first = 0;
    for (unsigned i = 0; i < 100; i++) {
        char *block = take(64);
        n_first += window_class(block) == CLASS_FIRST;
        must(window_class(block) == (n_first == i + 1 ? CLASS_FIRST : sizeclass_of(64)));
    }
    must(n_first >= 2 && n_first < 50);
    must(window_class(take(80)) == CLASS_FIRST);
}

/* There is room for all that every class is to have. */
static void take_all_of_all(void)
{
    unsigned n_least = 8;
    for (unsigned class = 1; class <= FIRSTBLOCKS_LAST_CLASS; class ++) {
        unsigned n = 0;
        while (window_class(take(sizeclass_bytes(class))) == CLASS_FIRST)
            n++;
        must(n >= 1 && n <= n_least); /* of larger ones there are fewer */
        n_least = n;
    }
    must(n_least == 1);
}

static void take_aligned(void)
{
    bool zero;
    for (size_t alignment = 16; alignment <= CACHE_FAST_MAX_BYTES; alignment *= 2) {
        char *block = heap_allocate(24, alignment, false, &zero);
        must((uintptr_t)block % alignment == 0);
        memset(block, 1, 24);
        give(block);
    }
}

static void the_first_blocks_lie_side_by_side(void **state)
{
    (void)state;
    expect_peace(take_one_of_each);
    expect_peace(take_many_of_one);
    expect_peace(take_all_of_all);
    expect_peace(take_aligned);
}

static struct hak_class_stats figures_of(unsigned class)
{
    struct hak_class_stats figures;
    stats_gather_class(class, &figures);
    return figures;
}

static void *give_in_thread(void *block)
{
    give(block);
    return NULL;
}

/* Whoever frees them. */
static void count_blocks(void)
{
    pthread_t thread;
    for (size_t n_bytes = 16; n_bytes <= 1024; n_bytes *= 2) {
        unsigned class = sizeclass_of(n_bytes);
        char *first = take(n_bytes), *second = take(n_bytes);
        must(window_class(second) == CLASS_FIRST);
        must(figures_of(class).live_blocks == 2);
        must(figures_of(class).span_bytes == 2 * n_bytes);
        give(first);
        must(figures_of(class).live_blocks == 1);
        if (n_bytes == 1024)
            must(pthread_create(&thread, NULL, give_in_thread, second) == 0 &&
                 pthread_join(thread, NULL) == 0);
        else
            give(second);
        must(figures_of(class).live_blocks == 0);
        must(cache_cached_blocks(class) == 0);
    }
}

/* As touched, so that a program that has many of them is seen to grow. */
static void count_touched(void)
{
    struct firstregion_use none = firstregion_no_use(), use = none;
    char *first = take(1024), *last = take(16);
    firstregion_add_use(&use, window_slab(window_index(first)));
    must(use.touched_bytes - none.touched_bytes ==
         (size_t)(last + 16 - first) + FIRSTBLOCKS_RED_BYTES);
}

static void the_first_blocks_are_counted(void **state)
{
    (void)state;
    expect_peace(count_blocks);
    expect_peace(count_touched);
}

/* A loop of one malloc and one free is on the fast path after a dozen rounds. */
static void loop(void)
{
    for (int i = 0; i < 12; i++)
        give(take(200));
    for (int i = 0; i < 100; i++) {
        void *block = cache_take(200);
        must(block && cache_give(block));
    }
}

static void watching_ends(void **state)
{
    (void)state;
    expect_peace(loop);
}

/* Each of these is seen at the next request, of any watched size. */
static void write_past_the_end(void)
{
    ((char *)take(100))[100] = 1;
    take(2000);
    _exit(0);
}

static void write_past_the_block(void)
{
    ((char *)take(112))[112 + FIRSTBLOCKS_RED_BYTES - 1] = 1;
    take(2000);
    _exit(0);
}

static void write_past_the_last(void)
{
    char *last = NULL;
    for (int i = 0; i < 4; i++)
        last = take(112);
    last[112] = 1;
    take(2000);
    _exit(0);
}

static void write_before_the_start(void)
{
    ((char *)take(16))[-1] = 1;
    take(2000);
    _exit(0);
}

static void write_before_the_second(void)
{
    take(16);
    ((char *)take(16))[-(int)FIRSTBLOCKS_RED_BYTES / 2] = 1;
    take(2000);
    _exit(0);
}

static void write_to_a_freed_block(void)
{
    char *block = take(3000);
    give(block);
    block[2999] = 1;
    take(2000);
    _exit(0);
}

static void write_to_a_block_of_nothing(void)
{
    *(char *)take(0) = 1;
    take(2000);
    _exit(0);
}

static void free_twice(void)
{
    char *block = take(3000);
    give(block);
    give(block);
    _exit(0);
}

static void free_a_red_zone(void)
{
    give((char *)take(3072) + 3072);
    _exit(0);
}

static void free_what_was_never_given_out(void)
{
    give((char *)take(3072) + 8192);
    _exit(0);
}

static void resize_what_was_freed(void)
{
    char *block = take(100);
    give(block);
    heap_resize(block, 101);
    _exit(0);
}

/* While other classes go on, and the block's own was let go long since. */
static void free_twice_late(void)
{
    char *block = take(100);
    give(block);
    for (int i = 0; i < 1000; i++)
        give(take((size_t)i));
    give(block);
    _exit(0);
}

/* At exit alone: nothing else is done after it. */
static void write_to_one_that_was_freed_long_ago(void)
{
    char *block = take(100);
    give(block);
    for (int i = 0; i < 1000; i++)
        give(take((size_t)i));
    block[99] = 1;
}

static void *free_it_too(void *block)
{
    give(block);
    return NULL;
}

static void free_in_two_threads(void)
{
    pthread_t thread;
    char *block = take(100);
    if (pthread_create(&thread, NULL, free_it_too, block) != 0)
        _exit(0);
    pthread_join(thread, NULL);
    give(block);
    _exit(0);
}

static void *write_past_and_free(void *block)
{
    ((char *)block)[112] = 1;
    give(block);
    return NULL;
}

static void free_what_overflowed_in_a_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, write_past_and_free, take(112)) == 0)
        pthread_join(thread, NULL);
    _exit(0);
}

static void free_the_middle(void)
{
    give((char *)take(48) + 16);
    _exit(0);
}

static void misuse_is_named_at_once(void **state)
{
    (void)state;
    expect_abort(write_past_the_end, "buffer overflow: written past the end of 0x");
    expect_abort(write_past_the_end, "(byte 100 of the block of 100 bytes at 0x");
    expect_abort(write_past_the_block, "(byte 175 of the block of 112 bytes at 0x");
    expect_abort(write_past_the_last, "(byte 112 of the block of 112 bytes at 0x");
    expect_abort(write_before_the_start, "(byte -1 of the block of 16 bytes at 0x");
    expect_abort(write_before_the_second, "(byte -32 of the block of 16 bytes at 0x");
    expect_abort(write_to_a_freed_block, "use after free: written to 0x");
    expect_abort(write_to_a_block_of_nothing, "(byte 0 of the block of 0 bytes at 0x");
    expect_abort(free_twice, "double free of 0x");
    expect_abort(free_twice, "(byte 0 of the block of 3000 bytes at 0x");
    expect_abort(free_twice_late, "double free of 0x");
    expect_abort(free_in_two_threads, "double free of 0x");
    expect_abort(free_a_red_zone, "nothing is allocated at 0x");
    expect_abort(free_what_was_never_given_out, "nothing is allocated at 0x");
    expect_abort(resize_what_was_freed, "double free of 0x");
    expect_abort(write_to_one_that_was_freed_long_ago, "use after free: written to 0x");
    expect_abort(free_what_overflowed_in_a_thread, "(byte 112 of the block of 112 bytes at 0x");
    expect_abort(free_the_middle, "invalid free: inside a block: 0x");
}

int main(void)
{
    if (!heap_is_ready())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_programs_go_on),
        cmocka_unit_test(the_first_blocks_lie_side_by_side),
        cmocka_unit_test(the_first_blocks_are_counted),
        cmocka_unit_test(watching_ends),
        cmocka_unit_test(misuse_is_named_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
