/* expect: buffer overflow in: normal guards check */
/* The terminating zero of a string that just does not fit. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(64);
    memset(p, 'x', 64);
    p[64] = 0;
    free(p);
    return 0;
}
