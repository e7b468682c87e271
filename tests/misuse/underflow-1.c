/* expect: buffer underflow in: check */
/* One byte before the start. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    p[-1] = 1;
    free(p);
    return 0;
}
