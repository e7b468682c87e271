/* expect: invalid free\|double free\|buffer underflow in: normal guards check */
/* Sixteen bytes before the block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000), *q = malloc(1000);
    free((p > q ? p : q) - 16);
    return 0;
}
