/* expect: not a pointer from this allocator in: normal guards check */
/* A number is resized. */
#include <stdlib.h>

int main(void)
{
    free(realloc((void *)0x12340, 1000));
    return 0;
}
