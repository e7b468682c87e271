/* expect: not a pointer from this allocator in: normal guards check */
/* A string of the program text. */
#include <stdlib.h>

int main(void)
{
    char *p = "a string";
    free(p);
    return 0;
}
