/* expect: inside a block in: normal guards check */
/* The block's last byte. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    free(p + 999);
    return 0;
}
