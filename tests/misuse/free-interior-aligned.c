/* expect: inside a block in: normal check */
/* Into an aligned block, by its alignment. */
#include <stdlib.h>

int main(void)
{
    char *p = aligned_alloc(256, 1024);
    free(p + 256);
    return 0;
}
