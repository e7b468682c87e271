/* expect: use after free in: normal guards check */
/* The block has a new owner, who finds it changed. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    char *q = malloc(100);
    memset(p, 1, 100);
    free(q);
    return 0;
}
