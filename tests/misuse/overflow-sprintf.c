/* expect: buffer overflow in: normal guards check */
/* A number that takes more digits. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(16);
    sprintf(p, "%d.%d", 1234567890, 1234567890);
    free(p);
    return 0;
}
