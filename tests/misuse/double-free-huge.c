/* expect: double free in: normal guards check */
/* A block of whole SuperSlabs. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(5000000);
    memset(p, 1, 5000000);
    free(p);
    free(p);
    return 0;
}
