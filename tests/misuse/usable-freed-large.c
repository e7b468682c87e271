/* expect: double free in: normal guards check */
/* The same of a large one. */
#include <malloc.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(300000);
    free(p);
    return malloc_usable_size(p) == 1;
    return 0;
}
