/* expect: buffer overflow in: normal guards check */
/* Of a block with an alignment. */
#include <stdlib.h>

int main(void)
{
    char *p;
    posix_memalign((void **)&p, 256, 500);
    p[500] = 1;
    free(p);
    return 0;
}
