/* expect: inside a block in: normal guards check */
/* Into a block that realloc has moved. */
#include <stdlib.h>

int main(void)
{
    char *p = realloc(malloc(10), 3000);
    free(p + 10);
    return 0;
}
