/* expect: use after free: read or written in: fault check */
/* The first large block. */
#include <stdlib.h>

int main(void)
{
    volatile char *p = calloc(1, 256 * 1024);
    free((void *)p);
    return p[4711] == 1;
}
