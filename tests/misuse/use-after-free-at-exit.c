/* expect: use after free in: normal guards check */
/* By an exit handler. */
#include <stdlib.h>

static char *block;

static void write_it(void)
{
    block[0] = 1;
}

int main(void)
{
    block = malloc(100);
    free(block);
    atexit(write_it);
    return 0;
}
