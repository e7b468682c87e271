/* expect: buffer overflow in: normal guards check */
/* Of a block of no bytes. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(0);
    *p = 1;
    free(p);
    return 0;
}
