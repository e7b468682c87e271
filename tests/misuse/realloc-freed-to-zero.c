/* expect: double free in: normal guards check */
/* A freed block is resized to nothing. */
#include <stdlib.h>

int main(void)
{
    volatile size_t zero = 0;
    char *p = malloc(100);
    free(p);
    realloc(p, zero);
    return 0;
}
