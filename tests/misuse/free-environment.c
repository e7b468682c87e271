/* expect: not a pointer from this allocator in: normal guards check */
/* A string of the environment. */
#include <stdlib.h>

int main(void)
{
    free(getenv("PATH"));
    return 0;
}
