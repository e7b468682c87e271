/* expect: buffer underflow in: normal guards check */
/* Of an aligned block. */
#include <stdlib.h>

int main(void)
{
    char *p = aligned_alloc(128, 1280);
    p[-1] ^= 0x55;
    free(p);
    return 0;
}
