/* expect: inside a block in: normal guards check */
/* Sixteen bytes into the block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    free(p + 16);
    return 0;
}
