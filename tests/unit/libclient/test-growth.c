/*
 * Blocks that grow by realloc: contents go along, what one has left serves the next one, so that
 * growing again and again holds no more than growing once, and what creeps is not copied all the
 * time. On private memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "libclient/hakmem.h"
#include "libclient/heap.h"
#include "libclient/sizeclass.h"

#define MIB      ((size_t)1 << 20)
#define MAX_SIZE (64 * MIB)

static unsigned char *allocate(size_t n_bytes)
{
    bool zero;
    unsigned char *block = heap_allocate(n_bytes, 16, false, &zero);
    assert_non_null(block);
    return block;
}

static void mark(unsigned char *block, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += 4096)
        block[at] = (unsigned char)(at >> 12 | 1);
}

static void require_marked(const unsigned char *block, size_t n_bytes)
{
    for (size_t at = 0; at < n_bytes; at += 4096)
        assert_int_equal(block[at], (unsigned char)(at >> 12 | 1));
}

/* Doubles a block of 1 MiB up to MAX_SIZE. */
static unsigned char *grow(void)
{
    unsigned char *block = allocate(MIB);
    mark(block, 0, MIB);
    for (size_t n = MIB; n < MAX_SIZE; n *= 2) {
        block = heap_resize(block, 2 * n);
        assert_non_null(block);
        mark(block, n, 2 * n);
    }
    return block;
}

static uint64_t private_bytes(void)
{
    struct hak_stats stats;
    assert_int_equal(hak_stats(&stats, sizeof(stats)), 0);
    return stats.private_bytes;
}

static void growing_again_takes_no_more_memory(void **state)
{
    (void)state;
    unsigned char *block = grow();
    require_marked(block, MAX_SIZE);
    heap_free(block);
    uint64_t once = private_bytes();
    for (unsigned round = 0; round < 5; round++) {
        block = grow();
        require_marked(block, MAX_SIZE);
        heap_free(block);
    }
    /* A SuperSlab or two that were purged meanwhile, or hold blocks of other sizes; not six times
     * as much. */
    assert_true(private_bytes() <= once + 8 * MIB);
}

/* Two that grow in turn are in each other's way, or not: neither loses a byte. */
static void neighbours_keep_their_contents(void **state)
{
    (void)state;
    unsigned char *blocks[2] = {allocate(3 * MIB), allocate(3 * MIB)};
    size_t n = 3 * MIB;
    mark(blocks[0], 0, n);
    mark(blocks[1], 0, n);
    while (n < MAX_SIZE) {
        size_t next = n + n / 2;
        for (unsigned i = 0; i < 2; i++) {
            blocks[i] = heap_resize(blocks[i], next);
            assert_non_null(blocks[i]);
            require_marked(blocks[i], n);
            mark(blocks[i], 0, next);
        }
        n = next / 4096 * 4096;
    }
    heap_free(blocks[0]);
    unsigned char *third = grow();
    require_marked(blocks[1], n);
    require_marked(third, MAX_SIZE);
    heap_free(blocks[1]);
    heap_free(third);
}

/* String builders: a block that grows by a few bytes at a time must not be copied for each size
 * class on its way. */
static void a_block_that_is_appended_to_seldom_moves(void **state)
{
    (void)state;
    enum { FIRST = 1024, LAST = 128 * 1024, STEP = 40 };
    size_t n_bytes = FIRST;
    unsigned n_moves = 0;
    unsigned char *block = allocate(n_bytes);
    memset(block, 1, n_bytes);
    while (n_bytes < LAST) {
        unsigned char *before = block;
        block = heap_resize(block, n_bytes + STEP);
        assert_non_null(block);
        memset(block + n_bytes, (int)(n_bytes / STEP), STEP);
        n_moves += block != before;
        n_bytes += STEP;
    }
    for (size_t at = FIRST; at < n_bytes; at += STEP)
        assert_int_equal(block[at], (unsigned char)(at / STEP));
    heap_free(block);
    /* Seven doublings of eight classes each; three moves and a bit for each. */
    assert_true(n_moves <= 7 * 4);
}

/* Room is for those that creep: who asks for what he needs gets that, and a block that is to be
 * much larger too. */
static void other_blocks_get_no_room_to_grow(void **state)
{
    (void)state;
    unsigned char *block = allocate(1000);
    block = heap_resize(block, 1500);
    assert_non_null(block);
    assert_int_equal(heap_usable(block), sizeclass_bytes(sizeclass_of(1500)));
    block = heap_resize(block, 100);
    assert_non_null(block);
    assert_int_equal(heap_usable(block), sizeclass_bytes(sizeclass_of(100)));
    heap_free(block);
}

static size_t count_resident(const unsigned char *at, size_t n_bytes)
{
    unsigned char pages[2 * MIB / 4096];
    size_t n_resident = 0;
    assert_true(n_bytes <= 2 * MIB);
    assert_int_equal(mincore((void *)at, n_bytes, pages), 0);
    for (size_t i = 0; i < n_bytes / 4096; i++)
        n_resident += (pages[i] & 1) * 4096u;
    return n_resident;
}

/* Free SuperSlabs, none beside another, serve no block of several: as much of them goes as that one
 * takes, and what is left stays warm. */
static void what_is_free_makes_room(void **state)
{
    enum { N = 24, WANTED = 8, OTHERS = 80 };
    unsigned char *blocks[N];
    size_t n_resident = 0;
    (void)state;
    /* In use, and so all that is free here may be: surplus.h. */
    unsigned char *others = allocate(OTHERS * 2 * MIB);
    for (unsigned i = 0; i < N; i++) {
        blocks[i] = allocate(2 * MIB);
        memset(blocks[i], 1, 2 * MIB);
    }
    for (unsigned i = 0; i < N; i += 2)
        heap_free(blocks[i]);
    unsigned char *large = allocate(WANTED * 2 * MIB);
    for (unsigned i = 0; i < N; i += 2)
        n_resident += count_resident(blocks[i], 2 * MIB);
    assert_int_equal(n_resident, (N / 2 - WANTED) * 2 * MIB);
    heap_free(large);
    heap_free(others);
    for (unsigned i = 1; i < N; i += 2) {
        assert_int_equal(blocks[i][0], 1);
        assert_int_equal(blocks[i][2 * MIB - 1], 1);
        heap_free(blocks[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_free_makes_room), /* first: nothing else is free */
        cmocka_unit_test(growing_again_takes_no_more_memory),
        cmocka_unit_test(neighbours_keep_their_contents),
        cmocka_unit_test(a_block_that_is_appended_to_seldom_moves),
        cmocka_unit_test(other_blocks_get_no_room_to_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
