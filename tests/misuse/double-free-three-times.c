/* expect: double free in: normal guards check */
/* Three times. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(500);
    free(p);
    free(p);
    free(p);
    return 0;
}
