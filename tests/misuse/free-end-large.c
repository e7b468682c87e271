/* expect: invalid free\|double free in: normal guards check */
/* The end of a large block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(262144);
    free(p + 262144);
    return 0;
}
