/* expect: double free in: normal guards check */
/* A freed array gets another length. */
#include <stdlib.h>

int main(void)
{
    int *p = reallocarray(NULL, 10, 4);
    free(p);
    free(reallocarray(p, 1000, 4));
    return 0;
}
