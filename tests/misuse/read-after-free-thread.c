/* expect: use after free in: check */
/* By another thread. */
#include <pthread.h>
#include <stdlib.h>

static volatile char sink;

static void *read_it(void *p)
{
    sink = ((char *)p)[10];
    return NULL;
}

int main(void)
{
    pthread_t thread;
    char *p = calloc(1, 100);
    free(p);
    pthread_create(&thread, NULL, read_it, p);
    pthread_join(thread, NULL);
    return 0;
}
