/* expect: buffer overflow in: normal guards check */
/* Of a block of a page. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(4096);
    p[4096] = 1;
    free(p);
    return 0;
}
