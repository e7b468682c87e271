/* expect: buffer overflow in: normal guards check */
/* Seen when the block is resized. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    p[100] = 1;
    p = realloc(p, 200);
    free(p);
    return 0;
}
