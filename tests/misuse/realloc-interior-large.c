/* expect: inside a block in: normal guards check */
/* A large block is resized by an address within. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(300000);
    free(realloc(p + 4096, 400000));
    return 0;
}
