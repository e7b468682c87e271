/* expect: buffer overflow in: check */
/* A string without its zero. */
#include <stdlib.h>
#include <string.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(32);
    memset(p, 'x', 32);
    sink = strlen(p);
    free(p);
    return 0;
}
