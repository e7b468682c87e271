/* expect: use after free in: normal guards check */
/* The last byte. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(64);
    free(p);
    p[63] = 1;
    return 0;
}
