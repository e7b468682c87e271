/* expect: double free in: normal guards check */
/* A page. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(4096);
    free(p);
    free(p);
    return 0;
}
