/* expect: double free in: normal guards check */
/* One thread frees, then another. */
#include <pthread.h>
#include <stdlib.h>

static void *free_it(void *p)
{
    free(p);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    char *p = malloc(100);
    pthread_create(&thread, NULL, free_it, p);
    pthread_join(thread, NULL);
    free(p);
    return 0;
}
