/* expect: use after free in: check */
/* The old owner reads what the new one has written. */
#include <stdlib.h>
#include <string.h>

static volatile char sink;

int main(void)
{
    char *p = malloc(100);
    free(p);
    char *q = malloc(100);
    memset(q, 1, 100);
    sink = p[10];
    free(q);
    return 0;
}
