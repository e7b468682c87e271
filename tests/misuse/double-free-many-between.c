/* expect: double free in: normal guards check */
/* Thousands of blocks of the class go through in between: the caches have been emptied and filled.
 */
#include <stdlib.h>

int main(void)
{
    enum { N = 5000 };
    static char *blocks[N];
    for (int i = 0; i < N; i++)
        blocks[i] = malloc(100);
    for (int i = 0; i < N; i++)
        free(blocks[i]);
    free(blocks[7]);
    return 0;
}
