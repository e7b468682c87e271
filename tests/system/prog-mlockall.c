/*
 * A program that locks its memory, without privilege.
 *
 *   prog-mlockall WHEN FLAGS LIMIT_MIB N_KIB
 *
 * WHEN: before the first request, or after it. FLAGS: c (MCL_CURRENT), f (MCL_FUTURE), o
 * (MCL_ONFAULT) together. Then N_KIB are to be had in blocks of several sizes, freed, and had
 * again; each byte is looked at. Where LIMIT_MIB may not be had (RLIMIT_MEMLOCK) it may be too much
 * to lock, but then not for what the allocator has reserved: its address space must fit LIMIT_MIB.
 * Exit 0; 1 with what was wrong; 77 where the user cannot be changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { N_BLOCKS = 100000, NOBODY = 65534 };

static unsigned char *blocks[N_BLOCKS];
static size_t sizes[N_BLOCKS];

/* No stdio before the first request: it allocates. */
static void die(const char *what, int status)
{
    (void)!write(2, what, strlen(what));
    (void)!write(2, "\n", 1);
    _exit(status);
}

static size_t address_space_bytes(void)
{
    char text[100] = "";
    int fd = open("/proc/self/statm", O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        die("/proc/self/statm cannot be read", 77);
    close(fd);
    return strtoull(text, NULL, 10) * (size_t)getpagesize();
}

static void allocate_all(size_t n_bytes)
{
    static const size_t some[] = {100, 1000, 16, 5000, 70000, 200, 300000};
    size_t n = 0;
    for (size_t i = 0; n_bytes > 0; i++) {
        size_t size = some[i % 7] < n_bytes ? some[i % 7] : n_bytes;
        /* By several functions. */
        blocks[i] = i % 3 == 0 ? calloc(1, size) : i % 3 == 1 ? malloc(size) : realloc(NULL, size);
        if (!blocks[i])
            die("out of memory", 1);
        if (i % 5 == 0)
            blocks[i] = realloc(blocks[i], size += 10);
        if (!blocks[i])
            die("out of memory in realloc", 1);
        memset(blocks[i], (int)(i % 251), size);
        sizes[i] = size;
        n_bytes -= size < n_bytes ? size : n_bytes;
        n++;
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sizes[i]; k++)
            if (blocks[i][k] != i % 251)
                die("a byte is wrong", 1);
        if (malloc_usable_size(blocks[i]) < sizes[i])
            die("the usable size is wrong", 1);
    }
    for (size_t i = 0; i < n; i++)
        free(blocks[i]);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int is_before = strcmp(argv[1], "before") == 0;
    int flags = (strchr(argv[2], 'c') ? MCL_CURRENT : 0) | (strchr(argv[2], 'f') ? MCL_FUTURE : 0) |
                (strchr(argv[2], 'o') ? MCL_ONFAULT : 0);
    rlim_t n_lockable = strtoull(argv[3], NULL, 10) << 20;
    struct rlimit limit = {n_lockable, n_lockable};
    int is_lower = setrlimit(RLIMIT_MEMLOCK, &limit) != 0;
    if (geteuid() == 0 && (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY)))
        die("the user cannot be changed", 77);
    void *first = is_before ? NULL : malloc(100);
    if (mlockall(flags)) {
        if (!is_lower || is_before || errno != ENOMEM)
            die("mlockall fails", 1);
        if (address_space_bytes() > n_lockable)
            die("too much address space is left", 1);
    }
    for (int round = 0; round < 3; round++)
        allocate_all(strtoull(argv[4], NULL, 10) << 10);
    free(first);
    return 0;
}
