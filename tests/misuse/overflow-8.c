/* expect: buffer overflow in: normal guards check */
/* Eight bytes past the end. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(48);
    memset(p, 'x', 56);
    free(p);
    return 0;
}
