/* expect: buffer overflow in: normal check */
/* One byte too many is copied to a page, which is not freed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    static const char from[4096 + 1];
    char *p = malloc(4096);
    memcpy(p, from, sizeof(from));
    puts("goes on");
    fflush(stdout);
    return 0;
}
