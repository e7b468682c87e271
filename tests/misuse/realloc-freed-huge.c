/* expect: double free in: normal guards check */
/* A freed huge block is resized. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000);
    free(p);
    free(realloc(p, 9000000));
    return 0;
}
