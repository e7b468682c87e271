/* expect: use after free in: normal guards check */
/* Before many others of its size. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(8);
    free(p);
    memset(p, 'A', 8);
    for (int i = 0; i < 10000; i++)
        free(malloc(8));
    return 0;
}
