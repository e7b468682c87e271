/* expect: buffer underflow in: normal guards check */
/* An index of -1. */
#include <stdlib.h>

int main(void)
{
    int *p = malloc(10 * sizeof(int));
    volatile int i = -1;
    p[i] = 7;
    free(p);
    return 0;
}
