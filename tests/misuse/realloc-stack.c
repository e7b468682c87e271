/* expect: not a pointer from this allocator in: normal guards check */
/* A buffer that began on the stack is made larger. */
#include <stdlib.h>

int main(void)
{
    char object[64];
    volatile int unknown = 0;
    free(realloc(object + unknown, 1000));
    return 0;
}
