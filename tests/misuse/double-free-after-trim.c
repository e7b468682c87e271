/* expect: double free in: normal guards check */
/* In between the allocator has been told to give back what it can. */
#include <malloc.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(500);
    free(p);
    malloc_trim(0);
    free(p);
    return 0;
}
