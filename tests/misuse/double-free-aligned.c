/* expect: double free in: normal guards check */
/* A block with an alignment. */
#include <stdlib.h>

int main(void)
{
    char *p = aligned_alloc(1024, 3072);
    free(p);
    free(p);
    return 0;
}
