/* expect: buffer underflow in: normal guards check */
/* One byte before the start. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    p[-1] ^= 0x55;
    free(p);
    return 0;
}
