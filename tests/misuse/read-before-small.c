/* expect: buffer underflow in: none */
/* One byte before the start of a small block, in its own page: seen by nobody. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(64);
    sink = p[-1];
    free(p);
    return 0;
}
