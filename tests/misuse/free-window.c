/* expect: nothing is allocated in: normal check */
/* In the allocator's part of the address space, where nothing was ever mapped. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(5000000);
    free(p + ((size_t)1 << 31));
    return 0;
}
