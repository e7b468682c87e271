/* expect: invalid free\|double free\|buffer underflow in: normal guards check */
/* A place of the span where no block has been. */
#include <stdint.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(64);
    free((char *)(((uintptr_t)p & ~(uintptr_t)65535) + 64 * 1000));
    return 0;
}
