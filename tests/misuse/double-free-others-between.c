/* expect: double free in: normal guards check */
/* Another block of the class is freed in between, which is all that simple checks look at. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100), *q = malloc(100);
    free(p);
    free(q);
    free(p);
    return 0;
}
