/* expect: use after free in: guards check */
/* A page. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(4096);
    free(p);
    memset(p, 0, 4096);
    return 0;
}
