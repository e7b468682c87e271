/* expect: double free in: normal guards check */
/* realloc to size 0 has freed the block. */
#include <stdlib.h>

static volatile size_t zero = 0;

int main(void)
{
    char *p = malloc(100);
    if (!realloc(p, zero))
        free(p);
    return 0;
}
