/* expect: double free in: normal guards check */
/* A block of several 64 KiB units. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(200000);
    memset(p, 1, 200000);
    free(p);
    free(p);
    return 0;
}
