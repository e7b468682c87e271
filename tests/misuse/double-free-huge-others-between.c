/* expect: double free in: normal guards check */
/* A huge block, and another one freed in between. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000), *q = malloc(5000000);
    free(p);
    free(q);
    free(p);
    return 0;
}
