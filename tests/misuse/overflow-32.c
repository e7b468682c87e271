/* expect: buffer overflow in: normal guards check */
/* Thirty-two bytes past the end. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(32);
    memset(p, 'x', 64);
    free(p);
    return 0;
}
