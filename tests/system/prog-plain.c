/*
 * A program that does nothing wrong, for runs under other tools: threads that allocate, resize,
 * free and fork. Prints a sum, and whose malloc served it: "hakmem" or "another".
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *run(void *argument)
{
    uintptr_t sum = 0, seed = (uintptr_t)argument;
    for (unsigned round = 0; round < 5; round++) {
        unsigned char *blocks[200];
        for (unsigned i = 0; i < 200; i++) {
            size_t n = 1 + (i * 97 + round * 31 + seed) % 3000;
            blocks[i] = i % 3 ? malloc(n) : calloc(1, n);
            memset(blocks[i], (int)(i + seed), n);
        }
        for (unsigned i = 0; i < 200; i++) {
            blocks[i] = realloc(blocks[i], 4000);
            sum += blocks[i][0];
            free(blocks[i]);
        }
        void *aligned = NULL;
        posix_memalign(&aligned, 4096, 100000);
        memset(aligned, 1, 100000);
        free(aligned);
    }
    return (void *)sum;
}

int main(void)
{
    pthread_t threads[2];
    void *sums[2];
    int status;
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run, (void *)i);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], &sums[i]);
    pid_t child = fork();
    if (child == 0)
        _exit(run((void *)2) == NULL);
    waitpid(child, &status, 0);

    int (*owns)(const void *) = (int (*)(const void *))dlsym(RTLD_DEFAULT, "hak_owns");
    char *block = malloc(100);
    printf("%lu %d %s\n", (unsigned long)((uintptr_t)sums[0] + (uintptr_t)sums[1]), status,
           owns && owns(block) ? "hakmem" : "another");
    free(block);
    return 0;
}
