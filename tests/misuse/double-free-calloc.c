/* expect: double free in: normal guards check */
/* A block of calloc. */
#include <stdlib.h>

int main(void)
{
    char *p = calloc(10, 30);
    free(p);
    free(p);
    return 0;
}
