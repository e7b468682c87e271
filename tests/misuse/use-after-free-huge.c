/* expect: use after free in: check */
/* A huge block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000);
    free(p);
    p[4000000] = 1;
    return 0;
}
