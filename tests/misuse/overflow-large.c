/* expect: buffer overflow in: fault guards check */
/* Of a large block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(200000);
    p[200000] = 1;
    free(p);
    return 0;
}
