/* expect: buffer overflow in: normal guards check */
/* strcpy of a string that is longer. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(16);
    strcpy(p, "seventeen bytes..");
    free(p);
    return 0;
}
