/* expect: wild pointer\|buffer overflow\|use after free in: check */
/* A MiB past the end. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(64);
    sink = p[64 + (1 << 20)];
    free(p);
    return 0;
}
