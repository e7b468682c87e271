/* expect: buffer overflow in: normal check */
/* Room for a pointer instead of for what it points to. */
#include <stdlib.h>

int main(void)
{
    struct thing {
        long a[8];
    } *p = malloc(sizeof(p));
    p->a[7] = 1;
    free(p);
    return 0;
}
