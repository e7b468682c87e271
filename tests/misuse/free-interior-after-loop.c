/* expect: inside a block in: normal guards check */
/* The pointer has walked through the string. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = strdup("   text");
    while (*p == ' ')
        p++;
    free(p);
    return 0;
}
