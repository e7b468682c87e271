/* expect: double free in: normal guards check */
/* The largest of the size classes. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(32768);
    free(p);
    free(p);
    return 0;
}
