/* expect: use after free in: check */
/* Of an aligned block. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = aligned_alloc(512, 1024);
    free(p);
    sink = p[0];
    return 0;
}
