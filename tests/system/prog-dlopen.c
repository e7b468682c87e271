/*
 * Loads the allocator named on the command line by dlopen(), late, with threads that already run,
 * and uses it beside the C library's. Exit 0, or 1 with what was wrong.
 *
 *   prog-dlopen LIBRARY
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *(*their_malloc)(size_t);
static void (*their_free)(void *);
static void *(*their_realloc)(void *, size_t);
static int (*their_owns)(const void *);
static pthread_barrier_t loaded;
static int n_wrong;

static void use(unsigned tag)
{
    enum { N = 3000 };
    unsigned char **blocks = calloc(N, sizeof(*blocks)); /* the C library's */
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < N; i++) {
            size_t n = 1 + (i * 37 + tag * 11 + round) % 6000;
            blocks[i] = their_malloc(n);
            memset(blocks[i], (int)(i + tag), n);
        }
        for (unsigned i = 0; i < N; i++) {
            blocks[i] = their_realloc(blocks[i], 7000);
            if (blocks[i][0] != (unsigned char)(i + tag) || !their_owns(blocks[i]))
                __atomic_add_fetch(&n_wrong, 1, __ATOMIC_RELAXED);
            their_free(blocks[i]);
        }
    }
    if (their_owns(blocks))
        __atomic_add_fetch(&n_wrong, 1, __ATOMIC_RELAXED);
    free(blocks);
}

static void *thread_main(void *argument)
{
    pthread_barrier_wait(&loaded);
    use((unsigned)(uintptr_t)argument);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    if (argc != 2)
        return 2;
    pthread_barrier_init(&loaded, NULL, 4);
    for (size_t i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, thread_main, (void *)i);
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        puts(dlerror());
        return 1;
    }
    their_malloc = (void *(*)(size_t))dlsym(library, "malloc");
    their_free = (void (*)(void *))dlsym(library, "free");
    their_realloc = (void *(*)(void *, size_t))dlsym(library, "realloc");
    their_owns = (int (*)(const void *))dlsym(library, "hak_owns");
    if (!their_malloc || !their_free || !their_realloc || !their_owns)
        return 1;
    pthread_barrier_wait(&loaded);
    use(9);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    /* It must not go away beneath its blocks. */
    void *block = their_malloc(100);
    dlclose(library);
    memset(block, 1, 100);
    their_free(block);
    printf("%d wrong\n", n_wrong);
    return n_wrong != 0;
}
