/* expect: use after free in: check */
/* Of a large block. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = calloc(1, 300000);
    free(p);
    sink = p[70000];
    return 0;
}
