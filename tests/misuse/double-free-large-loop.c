/* expect: double free in: normal guards check */
/* Long after, when its size has been had again a thousand times. */
#include <stdlib.h>

int main(void)
{
    void *p = malloc(256 * 1024);
    free(p);
    for (int i = 0; i < 1000; i++)
        free(malloc(256 * 1024));
    free(p);
    return 0;
}
