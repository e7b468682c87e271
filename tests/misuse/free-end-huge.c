/* expect: invalid free\|double free in: normal guards check */
/* The end of a huge block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(4194304);
    free(p + 4194304);
    return 0;
}
