/* expect: double free in: normal guards check */
/* A large block, when hundreds of others have come and gone. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(300000);
    free(p);
    for (int i = 0; i < 300; i++)
        free(malloc(1000 + i * 500));
    free(p);
    return 0;
}
