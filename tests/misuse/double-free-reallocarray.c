/* expect: double free in: normal guards check */
/* A block of reallocarray. */
#include <stdlib.h>

int main(void)
{
    char *p = reallocarray(NULL, 30, 10);
    free(p);
    free(p);
    return 0;
}
