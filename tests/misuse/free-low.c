/* expect: not a pointer from this allocator in: normal guards check */
/* A small number. */
#include <stdlib.h>

int main(void)
{
    free((void *)0x10);
    return 0;
}
