/* expect: inside a block in: normal guards check */
/* Into a large block, at one of its further 64 KiB units. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(300000);
    free(p + 131072);
    return 0;
}
