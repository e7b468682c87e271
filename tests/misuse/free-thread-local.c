/* expect: not a pointer from this allocator in: normal guards check */
/* A thread-local object. */
#include <stdlib.h>

static __thread char object[64];

int main(void)
{
    free(object);
    return 0;
}
