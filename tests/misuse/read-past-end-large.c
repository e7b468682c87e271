/* expect: buffer overflow in: fault check */
/* Past the end of a large block. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(200000);
    sink = p[200000];
    free(p);
    return 0;
}
