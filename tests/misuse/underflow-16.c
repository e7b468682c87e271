/* expect: buffer underflow in: normal guards check */
/* Sixteen bytes before the start. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(100);
    memset(p - 16, 1, 16);
    free(p);
    return 0;
}
