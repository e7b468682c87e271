/* expect: use after free in: guards check */
/* Freed by another thread meanwhile. */
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
    p[0] = 1;
    return 0;
}
