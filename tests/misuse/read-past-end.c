/* expect: buffer overflow in: check */
/* One byte past the end. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(64);
    sink = p[64];
    free(p);
    return 0;
}
