/* expect: use after free in: fault guards check */
/* The first large block: normal mode takes its memory away. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(256 * 1024);
    free(p);
    memset(p, 'A', 256 * 1024);
    return 0;
}
