/* expect: double free in: normal guards check */
/* A string of strdup. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = strdup("a string that is copied");
    free(p);
    free(p);
    return 0;
}
