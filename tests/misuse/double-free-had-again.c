/* expect: double free in: normal guards check */
/* Between the two, the block has been handed out again: its new owner is hit. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(100);
    free(p);
    char *q = malloc(100);
    free(p);
    memset(q, 1, 100);
    free(q);
    return 0;
}
