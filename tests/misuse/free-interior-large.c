/* expect: inside a block in: normal guards check */
/* Into a large block, at a page. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(300000);
    free(p + 8192);
    return 0;
}
