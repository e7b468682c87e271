/* expect: buffer overflow in: normal guards check */
/* realloc has made it smaller. */
#include <stdlib.h>

int main(void)
{
    char *p = realloc(malloc(1000), 500);
    p[500] = 1;
    free(p);
    return 0;
}
