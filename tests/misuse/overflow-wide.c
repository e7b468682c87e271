/* expect: buffer overflow in: normal guards check */
/* Length in characters, taken for one in bytes. */
#include <stdlib.h>
#include <wchar.h>

int main(void)
{
    wchar_t *p = malloc(20);
    wmemset(p, L'x', 20);
    free(p);
    return 0;
}
