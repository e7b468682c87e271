/* expect: inside a block in: normal guards check */
/* Asked for the usable size of an address within a block. */
#include <malloc.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    return malloc_usable_size(p + 16) == 1;
    return 0;
}
