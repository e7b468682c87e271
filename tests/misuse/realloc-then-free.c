/* expect: double free in: normal guards check */
/* realloc has moved the block; the old address is freed. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    char *q = realloc(p, 5000);
    free(p);
    free(q);
    return 0;
}
