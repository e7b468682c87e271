/* expect: not a pointer from this allocator in: normal guards check */
/* An object on the stack. */
#include <stdlib.h>

static volatile int unknown = 0;

int main(void)
{
    char object[100];
    free(object + unknown);
    return 0;
}
