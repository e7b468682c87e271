/*
 * The malloc family at its edges, for whatever allocator this program runs on: sizes that are zero,
 * too large or overflow, alignments that are none, errno, and the functions that only answer
 * questions.
 *
 *   prog-malloc-edges            all edges; prints each that is wrong; exit 1 if any is
 *   prog-malloc-edges limit N    under an RLIMIT_AS of 512 MiB: N bytes at least can be had, then
 * ENOMEM, then recovery
 */
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static int n_wrong;

#define expect(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "malloc-edges: line %d: %s\n", __LINE__, #condition);                  \
            n_wrong++;                                                                             \
        }                                                                                          \
    } while (0)

/* The compiler must neither know these values nor drop a pair of malloc and free. */
static volatile size_t zero = 0, too_large = (size_t)PTRDIFF_MAX + 1, largest = SIZE_MAX;
static void *volatile sink;

static void *keep(void *p)
{
    sink = p;
    return p;
}

static void test_zero(void)
{
    void *a = keep(malloc(zero)), *b = keep(malloc(zero));
    expect(a && b && a != b);
    void *c = keep(calloc(zero, 10)), *d = keep(calloc(10, zero)), *e = keep(realloc(NULL, zero));
    expect(c && d && e && c != d && d != e);
    free(a);
    free(b);
    free(c);
    free(d);
    free(e);
    free(NULL);
    expect(malloc_usable_size(NULL) == 0);
    /* Frees and gives NULL, as the C library here does, or gives a block. Either way nothing leaks
     * or breaks. */
    for (int i = 0; i < 1000; i++)
        free(realloc(keep(malloc(100)), zero));
}

/* Every way to ask for too much is NULL and ENOMEM. */
static void test_too_large(void)
{
    struct {
        size_t n;
    } sizes[] = {{too_large}, {largest}, {largest - 100}, {too_large - 1}, {largest - 4096}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i].n;
        errno = 0;
        expect(!keep(malloc(n)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(calloc(1, n)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(calloc(n, 1)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(aligned_alloc(64, n)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(memalign(4096, n)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(valloc(n)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(pvalloc(n)) && errno == ENOMEM);
        void *p = (void *)0x1234;
        expect(posix_memalign(&p, 64, n) == ENOMEM && p == (void *)0x1234);
        unsigned char *old = keep(malloc(1000));
        memset(old, 0x77, 1000);
        errno = 0;
        expect(!keep(realloc(old, n)) && errno == ENOMEM);
        expect(old[0] == 0x77 && old[999] == 0x77);
        free(old);
    }
}

static void test_overflow(void)
{
    size_t half = largest / 2, root = (size_t)1 << 32;
    errno = 0;
    expect(!keep(calloc(half, 3)) && errno == ENOMEM);
    errno = 0;
    expect(!keep(calloc(root, root)) && errno == ENOMEM);
    errno = 0;
    expect(!keep(calloc(root + 1, root + 1)) && errno == ENOMEM);
    unsigned char *old = keep(malloc(64));
    memset(old, 0x66, 64);
    errno = 0;
    expect(!keep(reallocarray(old, half, 3)) && errno == ENOMEM);
    errno = 0;
    expect(!keep(reallocarray(old, root, root)) && errno == ENOMEM);
    expect(old[0] == 0x66 && old[63] == 0x66);
    free(old);
}

static void test_alignment(void)
{
    void *untouched = (void *)0x1234, *p = untouched;
    static const size_t bad[] = {0, 1, 2, 3, 4, 7, 12, 24, 100, 4095};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        expect(posix_memalign(&p, bad[i], 100) == EINVAL && p == untouched);
    /* No power of two: refused with EINVAL, or rounded up to one. */
    static const size_t odd[] = {3, 24, 48, 100, 4097};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        errno = 0;
        p = keep(aligned_alloc(odd[i], 100));
        size_t up = 1;
        while (up < odd[i])
            up *= 2;
        expect(p ? (uintptr_t)p % up == 0 : errno == EINVAL);
        free(p);
    }
    for (size_t align = sizeof(void *); align <= 16 << 20; align *= 2) {
        static const size_t sizes[] = {0, 1, 100, 5000, 70000, 3000000};
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            expect(posix_memalign(&p, align, sizes[i]) == 0 && (uintptr_t)p % align == 0);
            expect(malloc_usable_size(p) >= sizes[i]);
            memset(p, 0x55, sizes[i]);
            void *q = keep(realloc(p, sizes[i] + 1));
            expect(q && (sizes[i] == 0 || ((unsigned char *)q)[sizes[i] - 1] == 0x55));
            free(q);
        }
    }
    errno = 0;
    p = keep(memalign(too_large, 100));
    expect(!p && (errno == EINVAL || errno == ENOMEM));
}

static void test_errno(void)
{
    static const size_t sizes[] = {0,     1,      100,     1039,    5000,
                                   70000, 300000, 1 << 20, 3 << 20, 40 << 20};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *p = keep(malloc(sizes[i]));
        expect(p != NULL);
        memset(p, 1, sizes[i]);
        errno = 77;
        free(p);
        expect(errno == 77);
    }
    errno = 78;
    free(NULL);
    expect(errno == 78);
}

/* Freed dirty, had again by calloc. */
static void test_calloc_zeroes(void)
{
    static const size_t sizes[] = {1,     24,     100,     1039,    5000,
                                   65536, 200000, 1 << 20, 5 << 20, 33 << 20};
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            unsigned char *p = keep(malloc(sizes[i]));
            expect(p != NULL);
            memset(p, 0xee, malloc_usable_size(p));
            free(p);
            p = keep(calloc(1, sizes[i]));
            bool is_zero = true;
            for (size_t j = 0; j < sizes[i]; j++)
                is_zero = is_zero && p[j] == 0;
            expect(is_zero);
            memset(p, 0xdd, malloc_usable_size(p));
            free(p);
        }
    }
}

static void test_realloc(void)
{
    unsigned char *p = keep(malloc(16));
    memset(p, 0x11, 16);
    size_t n = 16;
    for (; n < 64 << 20; n *= 2) {
        p = keep(realloc(p, n * 2));
        expect(p && p[0] == 0x11 && p[n - 1] == 0x11 && p[n / 2] == 0x11);
        memset(p + n, 0x11, n);
    }
    while (n > 16) {
        n = n / 2 - n / 16;
        p = keep(realloc(p, n));
        expect(p && p[0] == 0x11 && p[n - 1] == 0x11);
    }
    free(p);
}

/* The functions that answer: right in order of magnitude, and the heap stands afterwards. */
static void test_answers(void)
{
    enum { N = 20000, EACH = 500 };
    static unsigned char *blocks[N];
    struct mallinfo2 before = mallinfo2();
    for (size_t i = 0; i < N; i++)
        memset(blocks[i] = keep(malloc(EACH)), 0x22, EACH);
    struct mallinfo2 held = mallinfo2();
    expect(held.uordblks >= before.uordblks + (size_t)N * EACH * 9 / 10);
    expect(held.uordblks <= before.uordblks + (size_t)N * EACH * 3 / 2);
    expect(held.arena + held.hblkhd >= held.uordblks);
    /* The old one, of ints, still answers. */
    expect(mallinfo().arena != 0 || mallinfo().hblkhd != 0);

    char *text = NULL;
    size_t n_text = 0;
    FILE *stream = open_memstream(&text, &n_text);
    expect(malloc_info(0, stream) == 0);
    fclose(stream);
    expect(n_text > 0 && strstr(text, "<malloc") && strstr(text, "</malloc>"));
    free(text);
    errno = 0;
    expect(malloc_info(1, stderr) != 0);
    malloc_stats();

    for (size_t i = 0; i < N; i++)
        free(blocks[i]);
    struct mallinfo2 freed = mallinfo2();
    expect(freed.uordblks < held.uordblks);
    int trimmed = malloc_trim(0);
    expect(trimmed == 0 || trimmed == 1);
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    expect(mallopt(-12345, 1) == 0 || mallopt(-12345, 1) == 1);
    for (size_t i = 0; i < N; i++) {
        memset(blocks[i] = keep(malloc(EACH)), 0x33, EACH);
        expect(blocks[i][EACH - 1] == 0x33);
    }
    for (size_t i = 0; i < N; i++)
        free(blocks[i]);
}

/* ---- under a limit ---- */

/* As many touched blocks of `n_bytes` as can be had; linked through their first word. */
static void *fill_up(size_t n_bytes, size_t *total)
{
    void *head = NULL;
    *total = 0;
    for (;;) {
        errno = 0;
        void **p = malloc(n_bytes);
        if (!p)
            break;
        memset(p, 0x44, n_bytes);
        *p = head;
        head = p;
        *total += n_bytes;
    }
    expect(errno == ENOMEM);
    return head;
}

static void drop(void *head)
{
    while (head) {
        void *next = *(void **)head;
        free(head);
        head = next;
    }
}

static int test_limit(size_t at_least)
{
    struct rlimit limit;
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = 1 << 29;
    if (setrlimit(RLIMIT_AS, &limit))
        return 2;
    static const size_t sizes[] = {1 << 20, 100, 5000, 16 << 20, 200000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t total;
        unsigned char *witness = malloc(1000);
        expect(witness != NULL);
        if (!witness)
            break;
        memset(witness, 0x99, 1000);
        void *head = fill_up(sizes[i], &total);
        errno = 0;
        expect(!keep(realloc(witness, 900 << 20)) && errno == ENOMEM);
        errno = 0;
        expect(!keep(calloc(900, 1 << 20)) && errno == ENOMEM);
        expect(witness[0] == 0x99 && witness[999] == 0x99);
        printf("in blocks of %zu: %zu MiB\n", sizes[i], total >> 20);
        expect(total >= at_least);
        drop(head);
        free(witness);
        unsigned char *again = keep(malloc(100));
        expect(again != NULL);
        free(again);
    }
    return n_wrong != 0;
}

/* The first request of all, which sets the heap up, where the program has most of a limit on
 * address space for itself: the heap's reservation fails until it is small enough, which is not the
 * program's to see. */
static int test_crowded(size_t n_bytes)
{
    expect(mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
    errno = 77;
    unsigned char *first = keep(malloc(100));
    expect(first && errno == 77);
    free(first);
    return n_wrong != 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "crowded") == 0)
        return test_crowded(strtoull(argv[2], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "limit") == 0)
        return test_limit(strtoull(argv[2], NULL, 10));
    test_zero();
    test_too_large();
    test_overflow();
    test_alignment();
    test_errno();
    test_calloc_zeroes();
    test_realloc();
    test_answers();
    printf("%d wrong\n", n_wrong);
    return n_wrong != 0;
}
