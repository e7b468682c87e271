/* expect: buffer overflow in: normal guards check */
/* strcat that forgets the terminating zero. */
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p = malloc(24);
    strcpy(p, "twelve bytes");
    strcat(p, "twelve bytes");
    free(p);
    return 0;
}
