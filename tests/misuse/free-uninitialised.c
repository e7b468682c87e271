/* expect: not a pointer from this allocator in: normal guards check */
/* A pointer that was never set: half of it is text. */
#include <stdlib.h>

int main(void)
{
    free((void *)0x0000676e69727473);
    return 0;
}
