/* expect: double free in: normal guards check */
/* A freed block is resized. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    char *q = realloc(p, 5000);
    free(q);
    return 0;
}
