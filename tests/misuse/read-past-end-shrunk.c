/* expect: buffer overflow in: check */
/* realloc has made it smaller. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = realloc(calloc(1, 4096), 1024);
    sink = p[1024];
    free(p);
    return 0;
}
