/* expect: \(wild pointer\|use after free\|buffer overflow\): \|: read or written in: fault check */
/* A mebibyte before a large block. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    static const char from[256 * 1024];
    char *p = malloc(256 * 1024);
    memcpy(p - 1024 * 1024, from, sizeof(from));
    return 0;
}
