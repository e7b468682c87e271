/* expect: inside a block in: normal guards check */
/* A page into a block of five. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(20000);
    free(p + 4096);
    return 0;
}
