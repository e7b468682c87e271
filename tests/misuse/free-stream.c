/* expect: not a pointer from this allocator in: normal guards check */
/* The C library's stdout. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    free(stdout);
    return 0;
}
