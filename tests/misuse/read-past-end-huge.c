/* expect: buffer overflow in: check */
/* Past the end of a huge block. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(5000000);
    sink = p[5000000];
    free(p);
    return 0;
}
