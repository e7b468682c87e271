/* expect: inside a block in: normal guards check */
/* The first output after it takes a buffer of that size. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(BUFSIZ / 2);
    free(p + 8);
    puts("some output");
    return 0;
}
