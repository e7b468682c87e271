/*
 * The program's descriptors are the program's. It closes all from 3 on, as daemons do, with the
 * allocator's among them; opens files and sockets of its own under all of these numbers; and goes
 * on allocating, freeing, forking.
 *
 *   prog-descriptors DIRECTORY [LIMIT]
 *
 * Then: the files hold what they held, no socket has received anything, every number still is what
 * the program opened, and the heap is right. Exit 0, or 1 with what was wrong. LIMIT: of
 * descriptors (256).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_BLOCKS = 6000, MAX_DESCRIPTORS = 4096 };

static const char contents[] = "the program's own data\n";
static unsigned char *blocks[N_BLOCKS];
static size_t sizes[N_BLOCKS];
static ino_t inodes[MAX_DESCRIPTORS];
static int n_descriptors = 256;

static void die(const char *what, int number)
{
    dprintf(1, "prog-descriptors: %s (%d; %s)\n", what, number, strerror(errno));
    _exit(1);
}

/* Some 48 MiB. */
static void fill_heap(unsigned char tag)
{
    for (size_t i = 0; i < N_BLOCKS; i++) {
        sizes[i] = 100 + i % 97 * 100 + (i % 500 == 0) * 2500000;
        blocks[i] = malloc(sizes[i]);
        if (!blocks[i])
            die("out of memory", (int)i);
        memset(blocks[i], tag ^ (unsigned char)i, sizes[i]);
    }
}

static void check_heap(unsigned char tag)
{
    for (size_t i = 0; i < N_BLOCKS; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            if (blocks[i][j] != (tag ^ (unsigned char)i))
                die("the heap is wrong", (int)i);
}

static void free_heap(void)
{
    for (size_t i = 0; i < N_BLOCKS; i++)
        free(blocks[i]);
}

static void *churn(void *argument)
{
    unsigned n = (unsigned)(uintptr_t)argument;
    for (unsigned i = 0; i < 20000; i++)
        free(malloc(1 + (i * 7919 + n) % 9000 + (i % 1000 == 0) * 3000000));
    return NULL;
}

/* Everything the library may want to talk to the daemon about: growth, idleness, threads, a fork.
 */
static void use_heap(void)
{
    for (int round = 0; round < 2; round++) {
        fill_heap((unsigned char)round);
        pthread_t threads[2];
        for (size_t i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, churn, (void *)i);
        for (size_t i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        pid_t pid = fork();
        if (pid == 0) {
            check_heap((unsigned char)round);
            for (size_t i = 0; i < N_BLOCKS; i++)
                memset(blocks[i], 0, sizes[i]);
            free_heap();
            fill_heap(0x3c);
            check_heap(0x3c);
            _exit(0);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            die("the child failed", status);
        check_heap((unsigned char)round);
        free_heap();
    }
}

int main(int argc, char **argv)
{
    if (argc < 2 || chdir(argv[1]))
        return 2;
    if (argc > 2)
        n_descriptors = atoi(argv[2]);
    struct rlimit limit = {.rlim_cur = (rlim_t)n_descriptors, .rlim_max = (rlim_t)n_descriptors};
    if (n_descriptors < 10 || n_descriptors > MAX_DESCRIPTORS || setrlimit(RLIMIT_NOFILE, &limit))
        return 2;

    /* The allocator has its connection, and extents in use. */
    fill_heap(0x77);
    closefrom(3);
    check_heap(0x77);

    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
        die("socketpair", 0);
    /* The last number is for the other end; the rest are by turns a file and the socket. */
    int peer = n_descriptors - 1;
    if (dup2(pair[1], peer) < 0 || close(pair[1]))
        die("dup2", peer);
    for (int i = 3; i < peer; i++) {
        if (i == pair[0])
            continue;
        if (i % 2) {
            char name[32];
            snprintf(name, sizeof(name), "data-%d", i);
            int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
            if (file < 0 || write(file, contents, sizeof(contents)) != sizeof(contents))
                die("cannot write a file", i);
            if (file != i && (dup2(file, i) < 0 || close(file)))
                die("dup2", i);
        } else if (dup2(pair[0], i) < 0) {
            die("dup2", i);
        }
    }
    struct stat st;
    for (int i = 3; i < n_descriptors; i++) {
        if (fstat(i, &st))
            die("fstat", i);
        inodes[i] = st.st_ino;
    }

    check_heap(0x77);
    free_heap();
    use_heap();

    char bytes[4096];
    for (int i = 3; i < n_descriptors; i++) {
        if (fstat(i, &st) || st.st_ino != inodes[i])
            die("this descriptor is another one now", i);
        if (!S_ISREG(st.st_mode))
            continue;
        ssize_t n = pread(i, bytes, sizeof(bytes), 0);
        if (n != sizeof(contents) || memcmp(bytes, contents, sizeof(contents)))
            die("a data file has changed", i);
        if (lseek(i, 0, SEEK_CUR) != sizeof(contents))
            die("the place in a data file has changed", i);
    }
    if (recv(peer, bytes, sizeof(bytes), MSG_DONTWAIT) != -1 || errno != EAGAIN)
        die("somebody wrote into the program's socket", peer);

    /* With room again, the allocator may find its daemon again. */
    closefrom(3);
    use_heap();
    dprintf(1, "ok\n");
    return 0;
}
