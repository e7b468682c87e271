/* expect: buffer overflow in: normal guards check */
/* One byte past the end. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    p[100] = 1;
    free(p);
    return 0;
}
