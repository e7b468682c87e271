/* expect: double free in: normal guards check */
/* The place of a large block has a new owner by then: who frees last is named, if anybody is. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(300000);
    free(p);
    char *q = malloc(300000);
    free(p);
    memset(q, 1, 300000);
    free(q);
    return 0;
}
