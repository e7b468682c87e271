/* expect: buffer overflow in: check */
/* Copied by the length of the target. */
#include <stdlib.h>
#include <string.h>

static volatile char sink;

int main(void)
{
    char *p = calloc(1, 48), target[200];
    memcpy(target, p, sizeof(target));
    sink = target[100];
    free(p);
    return 0;
}
