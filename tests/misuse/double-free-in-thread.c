/* expect: double free in: normal guards check */
/* A thread that ends right after. */
#include <pthread.h>
#include <stdlib.h>

static void *free_twice(void *p)
{
    free(p);
    free(p);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    char *p = malloc(100);
    pthread_create(&thread, NULL, free_twice, p);
    pthread_join(thread, NULL);
    return 0;
}
