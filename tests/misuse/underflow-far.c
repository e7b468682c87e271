/* expect: hakmem:  in: check */
/* A MiB before the start. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(1000);
    p[-(1 << 20)] ^= 1;
    free(p);
    return 0;
}
