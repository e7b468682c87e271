/* expect: wild pointer\|buffer overflow\|use after free in: check */
/* A MiB past the end. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    p[1000 + (1 << 20)] ^= 1;
    free(p);
    return 0;
}
