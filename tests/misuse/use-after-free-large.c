/* expect: use after free in: fault guards check */
/* A large block, written to after free. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(200000);
    free(p);
    p[100000] = 1;
    return 0;
}
