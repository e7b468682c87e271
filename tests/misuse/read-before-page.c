/* expect: wild pointer\|buffer overflow\|use after free in: check */
/* Before a block of a page. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(4096);
    sink = p[-1];
    free(p);
    return 0;
}
