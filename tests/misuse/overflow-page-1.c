/* expect: buffer overflow in: normal guards check */
/* A block of exactly a page has no slack. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(4096);
    p[4096] ^= 'A';
    free(p);
    return 0;
}
