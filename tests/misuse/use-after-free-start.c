/* expect: use after free in: normal guards check */
/* The first word, where other allocators keep their lists. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    *(void **)p = p;
    for (int i = 0; i < 1000; i++)
        malloc(100);
    return 0;
}
