/* expect: invalid free\|double free\|buffer underflow in: normal guards check */
/* A header before a large block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(300000), *q = malloc(300000);
    free((p > q ? p : q) - 16);
    return 0;
}
