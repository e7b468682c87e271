/* expect: double free in: normal guards check */
/* A page, with one of its size in use meanwhile. */
#include <stdlib.h>

int main(void)
{
    void *p = malloc(4096);
    free(p);
    void *q = malloc(4096);
    free(p);
    free(q);
    return 0;
}
