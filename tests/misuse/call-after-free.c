/* expect: use after free in: check */
/* A function is called through a pointer in a freed block. */
#include <stdlib.h>

int main(void)
{
    struct thing {
        void (*function)(void *);
    } *p = malloc(sizeof(*p));
    p->function = free;
    free(p);
    p->function(NULL);
    return 0;
}
