/* expect: invalid free in: normal guards check */
/* Into a huge block, at its second SuperSlab. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000);
    free(p + 2097152);
    return 0;
}
