/* expect: buffer overflow in: guards check */
/* Of a block of the largest of the size classes. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(32768);
    p[32768] = 1;
    free(p);
    return 0;
}
