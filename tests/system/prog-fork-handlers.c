/*
 * prog-fork-handlers N_FORKS THREADS: fork handlers that were registered before any library's
 * constructor ran. Their prepare handler so comes last, their child handler first, and each of them
 * allocates, frees and writes. Neither side may see the other's bytes, and nobody may hang.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_BLOCKS 100

static unsigned char *blocks[N_BLOCKS];
static int stop;

static size_t bytes_of(size_t i)
{
    return i % 40 == 0 ? 3 << 20 : i % 4 == 0 ? 100000 : 40 + i * 16;
}

static void fill(unsigned char with)
{
    for (size_t i = 0; i < N_BLOCKS; i++)
        memset(blocks[i], with, bytes_of(i));
}

static void expect(unsigned char with, const char *where)
{
    for (size_t i = 0; i < N_BLOCKS; i++) {
        for (size_t k = 0; k < bytes_of(i); k++) {
            if (blocks[i][k] != with) {
                fprintf(stderr, "%s: byte %zu of block %zu is %02x, not %02x\n", where, k, i,
                        blocks[i][k], with);
                _exit(1);
            }
        }
    }
}

static void replace_half(size_t odd)
{
    for (size_t i = odd; i < N_BLOCKS; i += 2) {
        free(blocks[i]);
        blocks[i] = malloc(bytes_of(i));
        if (!blocks[i])
            _exit(2);
    }
}

static void prepare(void)
{
    replace_half(0);
    replace_half(1);
    fill('p');
}

static void in_parent(void)
{
    replace_half(1);
    fill('P');
}

static void in_child(void)
{
    expect('p', "child, at first");
    replace_half(0);
    fill('C');
}

static void register_early(int n_arguments, char **arguments, char **environment)
{
    (void)n_arguments, (void)arguments, (void)environment;
    pthread_atfork(prepare, in_parent, in_child);
}
__attribute__((section(".preinit_array"),
               used)) static void (*const early)(int, char **, char **) = register_early;

static void *allocate_on(void *unused)
{
    (void)unused;
    for (size_t i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++)
        free(malloc(bytes_of(i % N_BLOCKS)));
    return NULL;
}

int main(int n_arguments, char **arguments)
{
    int n_forks = n_arguments > 1 ? atoi(arguments[1]) : 1;
    int n_threads = n_arguments > 2 ? atoi(arguments[2]) : 0;
    pthread_t threads[8];
    for (int i = 0; i < n_threads; i++)
        pthread_create(&threads[i], NULL, allocate_on, NULL);
    for (int i = 0; i < n_forks; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            expect('C', "child");
            replace_half(1);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            fprintf(stderr, "the child ended with %x\n", status);
            return 1;
        }
        expect('P', "parent");
        /* Kept: the next fork finds leased memory in use, and a link. */
        for (size_t k = 0; k < N_BLOCKS; k++)
            memset(malloc(100000), 'K', 100000);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
