/* expect: double free in: normal guards check */
/* A freed large block is resized. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(200000);
    free(p);
    char *q = realloc(p, 400000);
    free(q);
    return 0;
}
