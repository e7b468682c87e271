/* expect: inside a block in: normal guards check */
/* Into a block of calloc. */
#include <stdlib.h>

int main(void)
{
    char *p = calloc(20, 20);
    free(p + 20);
    return 0;
}
