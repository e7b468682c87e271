/* expect: inside a block in: normal guards check */
/* Resized by an address within. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    char *q = realloc(p + 32, 5000);
    free(q);
    return 0;
}
