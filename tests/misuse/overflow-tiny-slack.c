/* expect: buffer overflow in: normal guards check */
/* Right behind what was asked for, within the size class's block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(8);
    p[8] ^= 'A';
    free(p);
    return 0;
}
