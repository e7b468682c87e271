/* expect: buffer underflow in: normal guards check */
/* The end of an empty string is cut off. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = strdup("");
    p[strlen(p) - 1] = 0;
    free(p);
    return 0;
}
