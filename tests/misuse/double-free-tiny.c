/* expect: double free in: normal guards check */
/* The smallest block there is. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(0);
    free(p);
    free(p);
    return 0;
}
