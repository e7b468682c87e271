/* expect: double free in: normal guards check */
/* A large block beside another that lives. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(200000), *q = malloc(200000);
    memset(q, 1, 200000);
    free(p);
    free(p);
    free(q);
    return 0;
}
