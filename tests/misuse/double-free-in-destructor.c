/* expect: double free in: normal guards check */
/* By a thread, and again by the destructor of its thread-specific data. */
#include <pthread.h>
#include <stdlib.h>

static pthread_key_t key;

static void *free_it(void *p)
{
    pthread_setspecific(key, p);
    free(p);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    pthread_key_create(&key, free);
    pthread_create(&thread, NULL, free_it, malloc(100));
    pthread_join(thread, NULL);
    return 0;
}
