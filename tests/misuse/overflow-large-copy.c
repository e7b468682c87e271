/* expect: buffer overflow in: fault check */
/* A mebibyte too much is copied. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    static const char from[256 * 1024 + 1024 * 1024];
    char *p = malloc(256 * 1024);
    memcpy(p, from, sizeof(from));
    return 0;
}
