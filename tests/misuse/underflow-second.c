/* expect: buffer underflow in: normal check */
/* The second block of its size; nothing is freed. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char *p = malloc(40), *q = malloc(40);
    q[-32] ^= 'A';
    puts("goes on");
    fflush(stdout);
    return p == q;
}
