/* expect: not a pointer from this allocator in: normal guards check */
/* A static object is resized. */
#include <stdlib.h>

static char object[100];

int main(void)
{
    char *q = realloc(object, 5000);
    free(q);
    return 0;
}
