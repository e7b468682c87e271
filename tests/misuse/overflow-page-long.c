/* expect: buffer overflow in: normal guards check */
/* A whole page past the end. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(1000);
    memset(p, 1, 1000 + 4096);
    free(p);
    return 0;
}
