/* expect: buffer overflow in: guards check */
/* Of a huge block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000);
    p[5000000] = 1;
    free(p);
    return 0;
}
