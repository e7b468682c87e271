/* expect: use after free in: check */
/* A string is printed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = strdup("the text that was here");
    free(p);
    puts(p);
    return 0;
}
