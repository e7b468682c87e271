/* expect: use after free in: guards check */
/* With zeroes. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = calloc(1, 200);
    free(p);
    memset(p, 0, 200);
    return 0;
}
