/* expect: buffer overflow in: normal guards check */
/* Of a block of calloc, in the padding of its class. */
#include <stdlib.h>

int main(void)
{
    char *p = calloc(5, 7);
    p[35] = 1;
    free(p);
    return 0;
}
