/* expect: double free in: normal guards check */
/* The same block twice in a row. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    free(p);
    return 0;
}
