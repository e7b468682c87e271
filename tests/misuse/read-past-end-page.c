/* expect: buffer overflow in: check */
/* Past the end of a page. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(4096);
    sink = p[4096];
    free(p);
    return 0;
}
