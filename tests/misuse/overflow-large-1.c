/* expect: buffer overflow in: fault guards check */
/* 256 KiB and one byte: normal mode has a fence behind a program's first large block. */
#include <stdlib.h>

int main(void)
{
    char *p = malloc(256 * 1024);
    p[256 * 1024] ^= 'A';
    free(p);
    return 0;
}
