/*
 * Grows to so many bytes of mixed sizes, frees all but one block in so many, at random, and goes on
 * with little: a block now and then, until its standard input has a word. Then each survivor's
 * every byte is looked at, the heap is filled again, and all is looked at once more; calloc's
 * memory is zero.
 *
 *   prog-purge BYTES KEEP_EVERY [fork|raw]
 *
 * Prints "pages N bytes" when it has freed: the distinct pages in which survivors lie. With `fork`
 * a child is made at that moment, which looks at its copy when all is over: 3 if it, or the parent,
 * finds a wrong byte.
 */
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_MAX = 1000000, PAGE = 4096, EXIT_CORRUPTION = 3 };

struct block {
    unsigned char *bytes;
    size_t n_bytes;
};

static struct block blocks[N_MAX];
static uintptr_t pages[N_MAX * 2];
static int n_blocks, n_all;
static uint64_t random_state = 42;

static uint64_t random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static unsigned char byte_of(const struct block *b)
{
    return (unsigned char)((uintptr_t)b->bytes >> 4 | 1);
}

/* Three sizes in four are small; some are runs of units. */
static size_t size_random(void)
{
    switch (random_next() % 64) {
    case 0:
        return 1 + random_next() % 300000;
    case 1 ... 15:
        return 1 + random_next() % 20000;
    default:
        return 1 + random_next() % 1500;
    }
}

static void fill(struct block *b, bool by_calloc)
{
    b->n_bytes = size_random();
    b->bytes = by_calloc ? calloc(1, b->n_bytes) : malloc(b->n_bytes);
    if (!b->bytes)
        _exit(1);
    for (size_t i = 0; by_calloc && i < b->n_bytes; i++) {
        if (b->bytes[i]) {
            fprintf(stderr, "calloc(%zu): byte %zu is not zero\n", b->n_bytes, i);
            _exit(EXIT_CORRUPTION);
        }
    }
    memset(b->bytes, byte_of(b), b->n_bytes);
}

static void check_all(const char *who)
{
    for (int n = 0; n < n_blocks; n++) {
        for (size_t i = 0; i < blocks[n].n_bytes; i++) {
            if (blocks[n].bytes[i] != byte_of(&blocks[n])) {
                fprintf(stderr, "%s: byte %zu of block %d is wrong\n", who, i, n);
                _exit(EXIT_CORRUPTION);
            }
        }
    }
}

static int compare(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static size_t count_pages(void)
{
    size_t n = 0, n_distinct = 0;
    for (int i = 0; i < n_blocks; i++) {
        uintptr_t first = (uintptr_t)blocks[i].bytes / PAGE;
        uintptr_t last = ((uintptr_t)blocks[i].bytes + blocks[i].n_bytes - 1) / PAGE;
        for (uintptr_t page = first; page <= last && n < sizeof(pages) / sizeof(*pages); page++)
            pages[n++] = page;
    }
    qsort(pages, n, sizeof(*pages), compare);
    for (size_t i = 0; i < n; i++)
        n_distinct += i == 0 || pages[i] != pages[i - 1];
    return n_distinct;
}

static bool is_told_to_end(int ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, ms) > 0;
}

static pid_t begin_child(void)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    while (!is_told_to_end(1000))
        ;
    check_all("child");
    _exit(0);
}

/*
 * A child by a raw system call, in which no handler of ours ran: the heap is shared. It keeps to
 * what is safe in that, but for one call: it gives back what is free as far as it knows. Meanwhile
 * that is in use.
 */
static int trim_in_raw_child(void)
{
    int ends[2];
    char word;
    if (pipe(ends) < 0)
        return 1;
    pid_t pid = (pid_t)syscall(SYS_fork);
    if (pid == 0) {
        close(ends[1]);
        if (read(ends[0], &word, 1) != 0)
            _exit(1);
        malloc_trim(0);
        _exit(0);
    }
    while (n_blocks < n_all)
        fill(&blocks[n_blocks++], false);
    close(ends[1]);
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        return 1;
    check_all("parent of a raw child");
    return 0;
}

int main(int argc, char **argv)
{
    size_t n_bytes = strtoull(argc > 1 ? argv[1] : "0", NULL, 10), n_taken = 0;
    unsigned keep_every = argc > 2 ? (unsigned)atoi(argv[2]) : 10;
    bool forks = argc > 3 && strcmp(argv[3], "fork") == 0;
    pid_t pid = -1;
    while (n_taken < n_bytes && n_blocks < N_MAX) {
        fill(&blocks[n_blocks], false);
        n_taken += blocks[n_blocks++].n_bytes;
    }
    n_all = n_blocks;
    for (int n = n_blocks - 1; n >= 0; n--) {
        if (random_next() % keep_every == 0)
            continue;
        free(blocks[n].bytes);
        blocks[n] = blocks[--n_blocks];
    }
    printf("pages %zu bytes\n", count_pages() * PAGE);
    fflush(stdout);
    if (argc > 3 && strcmp(argv[3], "raw") == 0)
        return trim_in_raw_child();
    if (forks)
        pid = begin_child();
    while (!is_told_to_end(5))
        free(malloc(10000 + random_next() % 100000));
    check_all("parent");
    while (n_blocks < n_all)
        fill(&blocks[n_blocks++], n_blocks % 3 == 0);
    check_all("parent, full again");
    int status = 0;
    if (forks && (waitpid(pid, &status, 0) != pid || status != 0))
        return EXIT_CORRUPTION;
    return 0;
}
