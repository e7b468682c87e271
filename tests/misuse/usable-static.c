/* expect: not a pointer from this allocator in: normal guards check */
/* Asked for the usable size of a static object. */
#include <malloc.h>
#include <stdlib.h>

static char object[100];

int main(void)
{
    return malloc_usable_size(object) == 1;
    return 0;
}
