/* expect: buffer overflow in: normal guards check */
/* A block of no bytes is written to and freed. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(0);
    *p = 'A';
    free(p);
    return 0;
}
