/* expect: double free in: normal guards check */
/* The first output after it takes a buffer of that size, and so one of the two. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(BUFSIZ / 2);
    free(p);
    free(p);
    puts("some output");
    return 0;
}
