/* expect: invalid free: inside a block in: normal guards check */
/* 8 bytes into the first large block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(256 * 1024);
    free(p + 8);
    return 0;
}
