/* expect: wild pointer\|buffer overflow\|use after free in: check */
/* Two pages before the start. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(64);
    sink = p[-8192];
    free(p);
    return 0;
}
