/* expect: inside a block in: normal guards check */
/* The middle of a small block, well aligned. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(512);
    free(p + 256);
    return 0;
}
