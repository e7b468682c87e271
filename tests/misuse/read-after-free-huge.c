/* expect: use after free in: check */
/* Of a huge block. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = calloc(1, 5000000);
    free(p);
    sink = p[3000000];
    return 0;
}
