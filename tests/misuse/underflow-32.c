/* expect: buffer underflow in: normal check */
/* Thirty-two bytes before the start. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(200);
    memset(p - 32, 1, 32);
    free(p);
    return 0;
}
