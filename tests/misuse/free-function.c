/* expect: not a pointer from this allocator in: normal guards check */
/* A function's address. */
#include <stdlib.h>

int main(void)
{
    free((void *)main);
    return 0;
}
