/* expect: inside a block in: normal guards check */
/* Two places in one block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    free(p + 100);
    free(p + 200);
    return 0;
}
