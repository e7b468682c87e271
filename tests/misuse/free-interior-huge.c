/* expect: invalid free in: normal guards check */
/* Into a huge block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000);
    free(p + 4096);
    return 0;
}
