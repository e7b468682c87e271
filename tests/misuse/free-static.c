/* expect: not a pointer from this allocator in: normal guards check */
/* A static object. */
#include <stdlib.h>

static char object[100];

int main(void)
{
    free(object);
    return 0;
}
