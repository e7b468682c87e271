/* expect: double free in: normal guards check */
/* Once in main, once in an exit handler. */
#include <stdlib.h>

static char *block;

static void free_again(void)
{
    free(block);
}

int main(void)
{
    block = malloc(100);
    free(block);
    atexit(free_again);
    return 0;
}
