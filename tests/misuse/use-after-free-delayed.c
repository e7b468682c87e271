/* expect: use after free in: check */
/* Long after. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    for (int i = 0; i < 20000; i++)
        free(malloc(100 + i % 50));
    p[0] = 1;
    return 0;
}
