/* expect: use after free in: check */
/* By the address from before realloc. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = calloc(1, 100);
    char *q = realloc(p, 100000);
    sink = p[10];
    free(q);
    return 0;
}
