/* expect: invalid free\|double free in: normal guards check */
/* A GiB below the block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    free(p - ((size_t)1 << 30));
    return 0;
}
