/* expect: double free in: normal guards check */
/* A freed block is resized within its class. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    char *q = realloc(p, 104);
    free(q);
    return 0;
}
