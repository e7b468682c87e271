/* expect: buffer overflow in: check */
/* Of a block of no bytes. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(0);
    sink = *p;
    free(p);
    return 0;
}
