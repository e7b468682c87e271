/* Which pages of a private mapping are copied: both ways of asking, on pages of every kind. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/superslab.h"
#include "libclient/bitmap.h"
#include "libclient/copied.h"

static unsigned char *map_superslab(int fd)
{
    void *reserve = mmap(NULL, 2 * SUPERSLAB_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(reserve, MAP_FAILED);
    uintptr_t at = ((uintptr_t)reserve + SUPERSLAB_BYTES - 1) & ~(uintptr_t)(SUPERSLAB_BYTES - 1);
    void *mapped =
        mmap((void *)at, SUPERSLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    return mapped;
}

typedef bool (*find)(int fd, const void *superslab, uint64_t bits[COPIED_WORDS]);

static void check(find how, int asked_by, unsigned char *slab)
{
    uint64_t bits[COPIED_WORDS] = {0};
    if (!how(asked_by, slab, bits)) {
        assert_ptr_equal(how, copied_find_by_scan); /* before Linux 6.7 */
        return;
    }
    for (uint32_t page = 0; page < COPIED_PAGES; page++)
        assert_int_equal(bitmap_test(bits, page), page >= 100 && page < 300 && page % 3 != 0);
}

static void test_all_kinds(void **unused)
{
    (void)unused;
    int fd = memfd_create("test", MFD_CLOEXEC), asked_by = copied_open();
    assert_true(fd >= 0 && asked_by >= 0);
    assert_int_equal(ftruncate(fd, (off_t)SUPERSLAB_BYTES), 0);
    unsigned char *slab = map_superslab(fd);
    unsigned char byte = 7, sum = 0;
    /* Up to 200 in the file, from there on holes; of both some read, some written. */
    for (size_t page = 0; page < 200; page++)
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)(page * COPIED_PAGE_BYTES)), 1);
    for (size_t page = 0; page < COPIED_PAGES; page += 3)
        sum = (unsigned char)(sum + slab[page * COPIED_PAGE_BYTES]);
    for (size_t page = 100; page < 300; page++) {
        if (page % 3 != 0)
            slab[page * COPIED_PAGE_BYTES] = 9;
    }
    assert_int_equal(sum, 67 * 7 % 256);
    check(copied_find_by_scan, asked_by, slab);
    check(copied_find_by_reading, asked_by, slab);
    check(copied_find, asked_by, slab);
    /* Back to the file's page: no copy. */
    slab[0] = 1;
    assert_int_equal(madvise(slab, COPIED_PAGE_BYTES, MADV_DONTNEED), 0);
    check(copied_find, asked_by, slab);
    close(asked_by);
    uint64_t bits[COPIED_WORDS] = {0};
    assert_false(copied_find(asked_by, slab, bits));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_kinds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
