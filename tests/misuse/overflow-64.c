/* expect: buffer overflow in: normal guards check */
/* Sixty-four bytes past the end, into the next block. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(128), *q = malloc(128);
    memset(p, 'x', 128 + 64);
    free(p);
    free(q);
    return 0;
}
