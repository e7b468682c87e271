/* expect: hakmem:  in: guards check */
/* Into the next block, which is freed first. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *blocks[3];
    for (int i = 0; i < 3; i++)
        blocks[i] = malloc(100);
    for (int i = 0; i < 3; i++)
        memset(blocks[i], 'x', 100 + 40);
    free(blocks[2] > blocks[1] ? blocks[2] : blocks[1]);
    free(blocks[0]);
    return 0;
}
