/* expect: buffer overflow in: normal guards check */
/* A loop that goes one too far. */
#include <stdlib.h>

int main(void)
{
    int *p = malloc(10 * sizeof(int));
    for (volatile int i = 0; i <= 10; i++)
        p[i] = i;
    free(p);
    return 0;
}
