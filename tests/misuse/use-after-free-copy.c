/* expect: use after free in: normal guards check */
/* All of a page, and the program goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(4096);
    free(p);
    memset(p, 'A', 4096);
    puts("goes on");
    fflush(stdout);
    return 0;
}
