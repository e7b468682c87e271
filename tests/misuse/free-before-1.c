/* expect: invalid free\|double free in: normal guards check */
/* One byte before the block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000), *q = malloc(1000);
    free((p > q ? p : q) - 1);
    return 0;
}
