/* expect: buffer overflow in: none */
/* One byte past an end that is not at a multiple of 16: seen by nobody. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(61);
    sink = p[61];
    free(p);
    return 0;
}
