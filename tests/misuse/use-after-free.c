/* expect: use after free in: normal guards check */
/* Written to after free. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    p[50] = 1;
    return 0;
}
