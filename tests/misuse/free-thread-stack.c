/* expect: not a pointer from this allocator in: normal guards check */
/* An object on another thread's stack. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static char *theirs;

static void *live(void *argument)
{
    char object[64];
    __atomic_store_n(&theirs, object, __ATOMIC_RELEASE);
    pause();
    return argument;
}

int main(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, live, NULL);
    while (!__atomic_load_n(&theirs, __ATOMIC_ACQUIRE))
        sched_yield();
    free(theirs);
    return 0;
}
