/* expect: buffer underflow in: normal check */
/* Of a block that lives to the end. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    p[-1] ^= 0x55;
    return 0;
}
