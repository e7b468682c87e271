/* expect: buffer overflow in: normal check */
/* Zeros are copied over the end; the block is not freed, but the program goes on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    const char from[8 + 32] = {0};
    char *p = malloc(8);
    memcpy(p, from, sizeof(from));
    puts("goes on");
    fflush(stdout);
    return 0;
}
