/* Zeroed huge blocks of which little is touched: what they get, when, and that it is zero whatever
 * went before. On private memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hakmem.h"
#include "libclient/heap.h"
#include "libclient/sparse.h"
#include "libclient/sparsepages.h"
#include "libclient/window.h"

#define MIB ((size_t)1 << 20)

static bool is_sparse(const void *block)
{
    return window_slab(window_index(block))->is_sparse;
}

static void assert_zero(const void *block, size_t n_bytes)
{
    const uint64_t *words = block;
    uint64_t any = 0;
    for (size_t i = 0; i < n_bytes / sizeof(*words); i++)
        any |= words[i];
    assert_true(any == 0);
}

/* Has all of it been told to have huge pages, and nothing since to have none? */
static bool may_have_huge_pages(const void *block, size_t n_bytes)
{
    char line[512];
    unsigned long from = 0, to = 0, begin = (uintptr_t)block, end = begin + n_bytes;
    bool all = true;
    FILE *file = fopen("/proc/self/smaps", "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        bool is_flags = strncmp(line, "VmFlags:", 8) == 0;
        if (is_flags && from < end && begin < to)
            all = all && strstr(line, " hg") && !strstr(line, " nh");
        else if (!is_flags)
            sscanf(line, "%lx-%lx ", &from, &to);
    }
    fclose(file);
    return all;
}

/* No block but a zeroed one is in small pages. Where the kernel has no others it says so of none.
 */
static void assert_dense(const void *block, size_t n_bytes)
{
    static int has_huge_pages = -1;
    if (has_huge_pages < 0) {
        bool zero;
        void *any = heap_allocate(4 * MIB, 16, false, &zero);
        has_huge_pages = may_have_huge_pages(any, 4 * MIB);
        heap_free(any);
    }
    for (size_t at = 0; at < n_bytes; at += 2 * MIB)
        assert_false(is_sparse((const char *)block + at));
    if (has_huge_pages)
        assert_true(may_have_huge_pages(block, n_bytes));
}

static bool overlap(const unsigned char *a, const unsigned char *b, size_t n_bytes)
{
    return a < b + n_bytes && b < a + n_bytes;
}

/* A zeroed block whose ends are touched, if so all of it; freed. Was it sparse? */
static bool use_one(size_t n_bytes, bool fill)
{
    unsigned char *block = heap_allocate_zeroed(n_bytes);
    assert_non_null(block);
    assert_zero(block, fill ? 4096 : n_bytes);
    bool was_sparse = is_sparse(block);
    if (fill)
        memset(block, 0xa5, n_bytes);
    block[0] = block[n_bytes - 1] = 1;
    heap_free(block);
    return was_sparse;
}

/* How many blocks it takes until one is sparse, or is none any more. */
static unsigned rounds_until(bool sparse, size_t n_bytes, bool fill)
{
    unsigned n = 1;
    while (use_one(n_bytes, fill) != sparse)
        assert_true(++n < 5000);
    return n;
}

/* As use_one(), but the block is not read: it would be resident from that. */
static bool use_unread(size_t n_bytes)
{
    unsigned char *block = heap_allocate_zeroed(n_bytes);
    bool was_sparse = is_sparse(block);
    block[0] = block[n_bytes - 1] = 1;
    heap_free(block);
    return was_sparse;
}

static unsigned unread_rounds_until_sparse(size_t n_bytes)
{
    unsigned n = 1;
    while (!use_unread(n_bytes))
        assert_true(++n < 5000);
    return n;
}

static void a_program_that_touches_little_gets_sparse_blocks(void **state)
{
    (void)state;
    assert_true(unread_rounds_until_sparse(8 * MIB) <= 8);
    uint64_t n_before = sparse_counters().n_blocks;
    for (unsigned i = 0; i < 100; i++)
        assert_true(use_unread(8 * MIB));
    assert_true(sparse_counters().n_blocks - n_before == 100);
    /* And they hold no more than what was touched of them lately. */
    char *block = heap_allocate_zeroed(8 * MIB);
    assert_true(is_sparse(block));
    assert_in_range(sparsepages_count(block, 8 * MIB), 0, 16);
    heap_free(block);
}

/* By either way of making them so, both of which the first few calls go. */
static void pages_become_zero(void **state)
{
    (void)state;
    enum { N_CALLS = 20 };
    const size_t n_bytes = 8 * MIB;
    char *block = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(block, MAP_FAILED);
    madvise(block, n_bytes, MADV_NOHUGEPAGE);
    for (unsigned i = 0; i < N_CALLS; i++) {
        /* Few, so that they may stay, and many; in pages that stayed, and others. */
        size_t n_pages = i % 5 == 4 ? 400 : i % 3 + 1, n_resident = 0;
        bool must_count = i % 4 != 3;
        for (size_t page = 0; page < n_pages; page++)
            block[page * 3 * 4096 + i] = 1;
        assert_true(sparsepages_clear(block, n_bytes, must_count, &n_resident));
        if (must_count || n_resident != SPARSEPAGES_UNKNOWN)
            assert_in_range(n_resident, n_pages, n_pages + 12);
        assert_true(sparsepages_count(block, n_bytes) <= 12);
        assert_zero(block, n_bytes);
        madvise(block, n_bytes / 2, MADV_DONTNEED); /* what was read is resident */
        madvise(block + n_bytes / 2, n_bytes / 2, MADV_DONTNEED);
    }
    munmap(block, n_bytes);
}

static void one_that_fills_them_does_not(void **state)
{
    (void)state;
    uint64_t n_before = sparse_counters().n_misjudged;
    unread_rounds_until_sparse(8 * MIB);
    assert_true(use_one(8 * MIB, true));
    assert_true(sparse_counters().n_misjudged == n_before + 1);
    for (unsigned i = 0; i < 100; i++)
        assert_false(use_one(8 * MIB, true));
}

static void another_size_is_another_matter(void **state)
{
    (void)state;
    unread_rounds_until_sparse(8 * MIB);
    for (unsigned i = 0; i < 50; i++)
        assert_false(use_one(3 * MIB, true));
    assert_true(use_unread(8 * MIB));
}

static void each_misjudgement_puts_the_next_trial_off(void **state)
{
    (void)state;
    unsigned n_last = 0, n_longer = 0;
    for (unsigned trial = 0; trial < 6; trial++) {
        unsigned n = unread_rounds_until_sparse(5 * MIB);
        n_longer += n > n_last;
        n_last = n;
        assert_int_equal(rounds_until(false, 5 * MIB, true), 2);
    }
    assert_true(n_longer >= 4);
    /* What keeps its word for long is trusted as at first. */
    unread_rounds_until_sparse(5 * MIB);
    for (unsigned i = 0; i < 100; i++)
        assert_true(use_unread(5 * MIB));
    assert_true(use_one(5 * MIB, true));
    assert_true(unread_rounds_until_sparse(5 * MIB) <= 12);
}

static void blocks_that_are_kept_and_filled_are_few(void **state)
{
    (void)state;
    unsigned char *blocks[24];
    unsigned n_sparse = 0;
    unread_rounds_until_sparse(2 * MIB);
    for (unsigned i = 0; i < 24; i++) {
        blocks[i] = heap_allocate_zeroed(2 * MIB);
        n_sparse += is_sparse(blocks[i]);
        memset(blocks[i], 0xa5, 2 * MIB);
    }
    assert_in_range(n_sparse, 1, 6);
    for (unsigned i = 0; i < 24; i++)
        heap_free(blocks[i]);
}

/* Locked pages cannot be dropped: they are cleared the next time, as anybody's. */
static void pages_that_stay_are_not_taken_for_zero(void **state)
{
    (void)state;
    enum { N_OTHERS = 12 };
    const size_t n_bytes = 6 * MIB;
    for (unsigned i = 0; i < 2; i++) {
        unread_rounds_until_sparse(n_bytes);
        unsigned char *block = heap_allocate_zeroed(n_bytes);
        assert_true(is_sparse(block));
        if (syscall(SYS_mlock2, block, n_bytes, i == 0 ? 1 /* MLOCK_ONFAULT */ : 0) != 0) {
            heap_free(block);
            skip();
        }
        memset(block + 3 * MIB, 0xa5, i == 0 ? 4096 : 3 * MIB);
        uint64_t n_before = sparse_counters().n_misjudged;
        heap_free(block);
        assert_true(sparse_counters().n_misjudged == n_before + 1);
        /* In the lot of them that memory comes up again. */
        unsigned char *others[N_OTHERS];
        bool came_up = false;
        for (unsigned k = 0; k < N_OTHERS; k++) {
            others[k] = heap_allocate_zeroed(n_bytes);
            assert_zero(others[k], n_bytes);
            came_up = came_up || overlap(others[k], block, n_bytes);
        }
        assert_true(came_up);
        munlock(block, n_bytes);
        assert_dense(block, n_bytes);
        for (unsigned k = 0; k < N_OTHERS; k++)
            heap_free(others[k]);
    }
}

/* Its SuperSlabs serve others as any; a block that grows keeps what is in it and moves its pages.
 */
static void what_grows_is_sparse_no_more(void **state)
{
    (void)state;
    unread_rounds_until_sparse(4 * MIB);
    unsigned char *block = heap_allocate_zeroed(4 * MIB);
    assert_true(is_sparse(block));
    block[3 * MIB] = 7;
    for (size_t n_bytes = 6 * MIB; n_bytes <= 48 * MIB; n_bytes *= 2) {
        block = heap_resize(block, n_bytes);
        assert_dense(block, n_bytes);
        assert_int_equal(block[3 * MIB], 7);
    }
    block[3 * MIB] = 0;
    assert_zero(block, 4 * MIB);
    block = heap_resize(block, 2 * MIB);
    assert_zero(block, 2 * MIB);
    heap_free(block);
    /* One that shrinks gives up zeros. */
    block = heap_allocate_zeroed(4 * MIB);
    memset(block + 2 * MIB, 1, 5 * 4096);
    block = heap_resize(block, 2 * MIB);
    unsigned char *other = heap_allocate_zeroed(4 * MIB);
    assert_zero(other, 4 * MIB);
    heap_free(other);
    heap_free(block);
}

/* When there is nothing else that is free. */
static void what_was_sparse_serves_any_block(void **state)
{
    (void)state;
    enum { N_MOST = 100 };
    const size_t n_bytes = 6 * MIB;
    unsigned char *blocks[N_MOST];
    unsigned n = 0;
    bool zero, came_up = false;
    unread_rounds_until_sparse(n_bytes);
    unsigned char *sparse = heap_allocate_zeroed(n_bytes);
    assert_true(is_sparse(sparse));
    heap_free(sparse);
    for (; n < N_MOST && !came_up; n++) {
        blocks[n] = heap_allocate(n_bytes, 16, false, &zero);
        assert_dense(blocks[n], n_bytes);
        came_up = overlap(blocks[n], sparse, n_bytes);
    }
    assert_true(came_up);
    while (n > 0)
        heap_free(blocks[--n]);
}

static void a_block_grows_into_what_was_sparse(void **state)
{
    (void)state;
    enum { N = 8 };
    const size_t n_bytes = 4 * MIB;
    unsigned char *blocks[N];
    bool has_grown = false;
    unread_rounds_until_sparse(n_bytes);
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = heap_allocate_zeroed(n_bytes);
        assert_true(is_sparse(blocks[i]));
    }
    for (unsigned i = 0; i < N && !has_grown; i++) {
        for (unsigned k = 0; k < N && !has_grown; k++) {
            if (blocks[k] != blocks[i] + n_bytes)
                continue;
            heap_free(blocks[k]);
            blocks[k] = NULL;
            assert_true(is_sparse(blocks[i] + n_bytes));
            assert_ptr_equal(heap_resize(blocks[i], 2 * n_bytes), blocks[i]);
            assert_dense(blocks[i], 2 * n_bytes);
            has_grown = true;
        }
    }
    assert_true(has_grown);
    for (unsigned i = 0; i < N; i++)
        heap_free(blocks[i]);
}

/* ---- any order of things ---- */

static uint64_t random_state = 42;

static uint32_t below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static void dirty(unsigned char *block, size_t n_bytes)
{
    if (below(6) == 0)
        memset(block, 0xa5, n_bytes);
    for (unsigned n = below(40); n > 0; n--)
        block[below((uint32_t)n_bytes)] = 1;
}

static unsigned char *allocate_any(size_t n_bytes)
{
    bool zero;
    if (below(4) == 0) {
        unsigned char *block = heap_allocate(n_bytes, 16, below(3) == 0, &zero);
        if (n_bytes > 2 * MIB)
            assert_dense(block, n_bytes);
        memset(block, 0x5a, n_bytes);
        return block;
    }
    unsigned char *block = heap_allocate_zeroed(n_bytes);
    assert_zero(block, n_bytes);
    dirty(block, n_bytes);
    return block;
}

enum { N_BLOCKS = 6 };

static void play(unsigned n_steps, unsigned depth)
{
    unsigned char *blocks[N_BLOCKS] = {NULL};
    for (unsigned step = 0; step < n_steps; step++) {
        unsigned i = below(N_BLOCKS);
        size_t n_bytes = below(20) == 0 ? 1 + below(200000) : MIB + below(9 << 20);
        if (blocks[i] && below(5) == 0) {
            blocks[i] = heap_resize(blocks[i], n_bytes);
        } else {
            heap_free(blocks[i]);
            blocks[i] = allocate_any(n_bytes);
        }
        if (below(30) == 0)
            hak_trim(0);
        if (below(40) == 0 && depth < 2) {
            pid_t pid = fork();
            if (pid == 0) {
                play(20, depth + 1);
                _exit(0);
            }
            int status;
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_int_equal(status, 0);
        }
    }
    for (unsigned i = 0; i < N_BLOCKS; i++)
        heap_free(blocks[i]);
}

static void zeroed_is_zero_whatever_went_before(void **state)
{
    (void)state;
    uint64_t n_sparse = sparse_counters().n_blocks, n_misjudged = sparse_counters().n_misjudged;
    for (unsigned round = 0; round < 4; round++) {
        for (size_t n_bytes = 2 * MIB; n_bytes <= 8 * MIB; n_bytes *= 2)
            unread_rounds_until_sparse(n_bytes);
        play(150, 0);
    }
    /* Else it was about nothing. */
    assert_true(sparse_counters().n_blocks > n_sparse + 10);
    assert_true(sparse_counters().n_misjudged > n_misjudged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_that_touches_little_gets_sparse_blocks),
        cmocka_unit_test(pages_become_zero),
        cmocka_unit_test(one_that_fills_them_does_not),
        cmocka_unit_test(another_size_is_another_matter),
        cmocka_unit_test(each_misjudgement_puts_the_next_trial_off),
        cmocka_unit_test(blocks_that_are_kept_and_filled_are_few),
        cmocka_unit_test(pages_that_stay_are_not_taken_for_zero),
        cmocka_unit_test(what_grows_is_sparse_no_more),
        cmocka_unit_test(what_was_sparse_serves_any_block),
        cmocka_unit_test(a_block_grows_into_what_was_sparse),
        cmocka_unit_test(zeroed_is_zero_whatever_went_before),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
