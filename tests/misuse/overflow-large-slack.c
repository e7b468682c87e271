/* expect: buffer overflow in: normal guards check */
/* Between a large block's end and its fence. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(200001);
    p[200001] = 1;
    free(p);
    return 0;
}
