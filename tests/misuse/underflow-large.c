/* expect: buffer underflow in: normal guards check */
/* Of a large block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(200000);
    p[-8] ^= 0x55;
    free(p);
    return 0;
}
