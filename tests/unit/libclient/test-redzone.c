/*
 * Watched blocks: that what a right program may do with them is never taken for misuse, that what
 * was kept back is given back, and that each kind of misuse is named. A child does what must be
 * stopped, and each test is a process of its own, since a class is watched only once.
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
#include "libclient/heap.h"
#include "libclient/redzone.h"
#include "libclient/span.h"

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
    for (unsigned class = 9; class <= REDZONE_LAST_CLASS; class ++) {
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

/* All that was kept back comes home with the rest. */
static void nothing_is_left_behind(void)
{
    uint64_t n_spans, n_out;
    for (unsigned class = 1; class <= REDZONE_LAST_CLASS; class ++) {
        size_t n_bytes = sizeclass_bytes(class);
        char *first = take(n_bytes), *second = take(n_bytes);
        give(first);
        if (class % 2)
            give(take(n_bytes)), give(take(n_bytes)), give(take(n_bytes));
        give(second);
    }
    cache_flush_own();
    for (unsigned class = 1; class <= REDZONE_LAST_CLASS; class ++) {
        span_stats(class, &n_spans, &n_out);
        must(n_out == 0 && cache_cached_blocks(class) == 0);
    }
}

static void what_was_kept_back_comes_home(void **state)
{
    (void)state;
    expect_peace(nothing_is_left_behind);
}

/* A loop of one malloc and one free is on the fast path after a handful of rounds. */
static void loop(void)
{
    for (int i = 0; i < 8; i++)
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
    ((char *)take(112))[112 + REDZONE_BYTES - 1] = 1;
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
    ((char *)take(16))[-(int)REDZONE_BYTES / 2] = 1;
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

static void free_what_is_kept_back(void)
{
    give((char *)take(3072) + 3072);
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
    expect_abort(free_what_is_kept_back, "nothing is allocated at 0x");
    expect_abort(free_the_middle, "invalid free: inside a block: 0x");
}

int main(void)
{
    if (!heap_is_ready())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_programs_go_on),
        cmocka_unit_test(what_was_kept_back_comes_home),
        cmocka_unit_test(watching_ends),
        cmocka_unit_test(misuse_is_named_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
