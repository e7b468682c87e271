/* expect: not a pointer from this allocator in: normal guards check */
/* What failed calls return. No address: in normal mode SIGSEGV, unnamed. */
#include <stdlib.h>

int main(void)
{
    free((void *)-1);
    return 0;
}
