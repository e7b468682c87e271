/* expect: buffer overflow in: normal guards check */
/* By a thread, of the block of another. */
#include <pthread.h>
#include <stdlib.h>

static void *write_it(void *p)
{
    ((char *)p)[100] = 1;
    return NULL;
}

int main(void)
{
    pthread_t thread;
    char *p = malloc(100);
    pthread_create(&thread, NULL, write_it, p);
    pthread_join(thread, NULL);
    free(p);
    return 0;
}
