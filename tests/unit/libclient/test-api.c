/* hakmem.h on private memory: whose pointer it is, prewarming, figures that add up, giving back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hakmem.h"
#include "libclient/cache.h"
#include "libclient/firstlarge.h"
#include "libclient/glue.h"
#include "libclient/heap.h"
#include "libclient/report.h"

static void *allocate(size_t n_bytes)
{
    bool zero;
    return heap_allocate(n_bytes, 16, false, &zero);
}

static void owners_are_told(void **state)
{
    (void)state;
    int on_the_stack;
    char *small = allocate(100), *large = allocate(300000), *huge = allocate(5 << 20);
    assert_int_equal(hak_owns(small), HAK_OWNER_PRIVATE);
    assert_int_equal(hak_owns(large + 200000), HAK_OWNER_PRIVATE);
    assert_int_equal(hak_owns(huge), HAK_OWNER_PRIVATE);
    assert_int_equal(hak_owns(huge + (4 << 20)), HAK_OWNER_PRIVATE);
    assert_int_equal(hak_owns(&on_the_stack), HAK_OWNER_NONE);
    assert_int_equal(hak_owns(NULL), HAK_OWNER_NONE);
    /* Any value may be asked about: within the window's address space, far out, no address at all.
     */
    assert_int_equal(hak_owns(small + ((size_t)100 << 30)), HAK_OWNER_NONE);
    assert_int_equal(hak_owns((void *)UINTPTR_MAX), HAK_OWNER_NONE);
    assert_int_equal(hak_owns((void *)UINT64_C(0xdeadbeefdeadbeef)), HAK_OWNER_NONE);
    heap_free(small);
    heap_free(large);
    heap_free(huge);
    assert_int_equal(hak_owns(huge), HAK_OWNER_NONE);
}

/* The first block of 128 to 256 KiB, which lies apart, is in the total as well. First of the tests:
 * there is one such. */
static void the_first_large_block_is_in_the_sums(void **state)
{
    (void)state;
    const size_t n_bytes = 200000;
    heap_free(allocate(100));
    struct mallinfo2 before = mallinfo2();
    void *block = allocate(n_bytes);
    assert_true(firstlarge_owns(block));
    struct mallinfo2 held = mallinfo2();
    assert_int_equal(held.uordblks, before.uordblks + n_bytes);
    assert_in_range(held.arena - before.arena, n_bytes, n_bytes + 4096);
    assert_int_equal(held.arena + held.hblkhd, held.uordblks + held.fordblks);
    heap_free(block);
    assert_int_equal(mallinfo2().arena, before.arena);
}

/* Bytes of this process that are resident. */
static size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    size_t n_pages = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %zu", &n_pages), 1);
    fclose(file);
    return n_pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void prewarmed_memory_is_there(void **state)
{
    (void)state;
    struct hak_stats before, after;
    size_t resident_before = resident_bytes();
    assert_int_equal(hak_ss_prewarm_init(0), -EINVAL);
    assert_int_equal(hak_ss_prewarm_init((size_t)2 << 30), -EINVAL);
    assert_int_equal(hak_ss_prewarm_init(20 << 20), 0);
    assert_int_equal(hak_stats(&before, sizeof(before)), 0);
    assert_true(before.free_superslab_bytes >= 20 << 20);
    /* Private memory, so its pages are there as well. */
    assert_true(resident_bytes() >= resident_before + (8 << 20));
    void *blocks[8];
    for (size_t i = 0; i < 8; i++)
        blocks[i] = allocate(2 << 20);
    assert_int_equal(hak_stats(&after, sizeof(after)), 0);
    assert_int_equal(after.private_bytes, before.private_bytes);
    for (size_t i = 0; i < 8; i++)
        heap_free(blocks[i]);
}

/* What it takes to fill half of what was prewarmed. */
static uint64_t n_syscalls_to_use_prewarmed(void)
{
    struct hak_stats before, after;
    enum { N_BYTES = 24 << 20, BLOCK = 1024, N_BLOCKS = N_BYTES / 2 / BLOCK };
    static void *blocks[N_BLOCKS];
    assert_int_equal(hak_ss_prewarm_init(N_BYTES), 0);
    assert_int_equal(hak_stats(&before, sizeof(before)), 0);
    for (size_t i = 0; i < N_BLOCKS; i++)
        blocks[i] = allocate(BLOCK);
    assert_int_equal(hak_stats(&after, sizeof(after)), 0);
    for (size_t i = 0; i < N_BLOCKS; i++)
        heap_free(blocks[i]);
    return after.syscalls - before.syscalls;
}

/* Once in each second of the clock the source of SuperSlabs looks around, which is two system
 * calls: what counts has ended in the second in which it began. */
static void prewarmed_memory_costs_no_system_call(void **state)
{
    (void)state;
    uint32_t begin_s;
    uint64_t n;
    do {
        begin_s = glue_now_s();
        n = n_syscalls_to_use_prewarmed();
    } while (glue_now_s() != begin_s);
    assert_int_equal(n, 0);
}

static void a_prewarmed_class_needs_no_slow_path(void **state)
{
    (void)state;
    assert_int_equal(hak_ss_prewarm_class(0, 1), -EINVAL);
    assert_int_equal(hak_ss_prewarm_class(100, 0), -EINVAL);
    assert_int_equal(hak_ss_prewarm_class(1 << 20, 1), -EINVAL);
    assert_int_equal(hak_ss_prewarm_class(16, SIZE_MAX), -EINVAL);
    assert_int_equal(hak_ss_prewarm_class(16, SIZE_MAX / 16 + 2), -EINVAL);
    assert_int_equal(hak_ss_prewarm_class(SIZE_MAX, 1), -EINVAL);
    assert_int_equal(hak_ss_prewarm_class(1030, 40), 0);
    struct hak_class_stats class;
    assert_int_equal(hak_stats_class(sizeclass_of(1030) - 1, &class), 0);
    assert_true(class.block_bytes >= 1030);
    assert_true(class.cached_blocks >= 40);
    void *blocks[40];
    for (size_t i = 0; i < 40; i++) {
        blocks[i] = cache_take(1030);
        assert_non_null(blocks[i]);
    }
    for (size_t i = 0; i < 40; i++)
        heap_free(blocks[i]);
}

static void figures_add_up(void **state)
{
    (void)state;
    struct hak_stats before, after;
    unsigned class = sizeclass_of(500);
    struct hak_class_stats figures;
    cache_flush_own();
    hak_stats(&before, sizeof(before));
    void *blocks[1000];
    for (size_t i = 0; i < 1000; i++)
        blocks[i] = allocate(500);
    void *large = allocate(300000), *huge = allocate(3 << 20);
    hak_stats(&after, sizeof(after));
    assert_int_equal(after.small_live_bytes + after.small_cached_bytes - before.small_live_bytes -
                             before.small_cached_bytes >=
                         1000 * sizeclass_bytes(class),
                     1);
    assert_int_equal(after.large_bytes - before.large_bytes, 320 << 10);
    assert_int_equal(after.huge_bytes - before.huge_bytes, 4 << 20);
    hak_stats_class(class - 1, &figures);
    assert_int_equal((figures.live_blocks + figures.cached_blocks + figures.free_blocks) *
                             figures.block_bytes <=
                         figures.span_bytes,
                     1);
    /* The cached ones are as of the last refill: a stackful off at most. */
    assert_true(figures.live_blocks >= 1000 - 256);
    for (size_t i = 0; i < 1000; i++)
        heap_free(blocks[i]);
    heap_free(large);
    heap_free(huge);
    /* A caller built against a smaller struct is not overrun. */
    memset(&after, 0x5a, sizeof(after));
    assert_int_equal(hak_stats(&after, sizeof(size_t)), 0);
    assert_int_equal(((unsigned char *)&after)[sizeof(size_t)], 0x5a);
    assert_int_equal(hak_stats(NULL, sizeof(after)), -EINVAL);
    assert_int_equal(hak_stats_class(after.n_classes, &figures), -EINVAL);
}

static void trim_gives_back_what_is_empty(void **state)
{
    (void)state;
    void *blocks[200];
    for (size_t i = 0; i < 200; i++)
        blocks[i] = memset(allocate(100000), 1, 100000);
    for (size_t i = 0; i < 200; i++)
        heap_free(blocks[i]);
    assert_true(hak_trim(0) >= 8 << 20);
    assert_true(hak_trim(0) < 1 << 20);
    /* What was given back reads as zero, and is known to. */
    bool zero;
    unsigned char *block = heap_allocate(8 << 20, 16, false, &zero);
    for (size_t i = 0; zero && i < 8 << 20; i += 4096)
        assert_int_equal(block[i], 0);
    heap_free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_large_block_is_in_the_sums),
        cmocka_unit_test(owners_are_told),
        cmocka_unit_test(prewarmed_memory_is_there),
        cmocka_unit_test(prewarmed_memory_costs_no_system_call),
        cmocka_unit_test(a_prewarmed_class_needs_no_slow_path),
        cmocka_unit_test(figures_add_up),
        cmocka_unit_test(trim_gives_back_what_is_empty),
    };
    return heap_is_ready() ? cmocka_run_group_tests(tests, NULL, NULL) : 1;
}
