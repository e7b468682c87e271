/* expect: buffer overflow in: normal check */
/* 32 bytes past the end: over the neighbour's place. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(8);
    p[8 - 1 + 32] ^= 'A';
    free(p);
    return 0;
}
