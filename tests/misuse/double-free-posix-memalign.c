/* expect: double free in: normal guards check */
/* A block of posix_memalign. */
#include <stdlib.h>

int main(void)
{
    void *p;
    posix_memalign(&p, 64, 1000);
    free(p);
    free(p);
    return 0;
}
