/* expect: buffer underflow in: normal guards check */
/* A large block need not begin where its first page does. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(200001);
    p[-1] = 1;
    free(p);
    return 0;
}
