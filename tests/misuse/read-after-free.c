/* expect: use after free in: check */
/* A byte of a freed block. */
#include <stdlib.h>

static volatile char sink;

int main(void)
{
    char *p = calloc(1, 100);
    free(p);
    sink = p[50];
    return 0;
}
