/* expect: use after free in: normal guards check */
/* The old address of a block that realloc moved. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    char *q = realloc(p, 100000);
    p[10] = 1;
    free(q);
    return 0;
}
