/* expect: buffer overflow in: normal check */
/* Of a block that lives to the end. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(100);
    p[100] = 1;
    return 0;
}
