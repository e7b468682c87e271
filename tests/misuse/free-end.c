/* expect: invalid free\|double free\|buffer underflow in: normal guards check */
/* One past the end, where the next block was not yet handed out. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1024);
    free(p + 1024);
    return 0;
}
