/* expect: not a pointer from this allocator in: normal guards check */
/* No address at all. */
#include <stdlib.h>

int main(void)
{
    free((void *)0x414141414141);
    return 0;
}
