/* expect: double free in: normal guards check */
/* Asked for the usable size of a freed block. */
#include <malloc.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    return malloc_usable_size(p) == 1;
    return 0;
}
