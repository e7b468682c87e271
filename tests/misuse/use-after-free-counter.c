/* expect: use after free in: normal guards check */
/* A reference count goes down once too often. */
#include <stdlib.h>

int main(void)
{
    struct thing {
        int n_references;
        char bytes[60];
    } *p = malloc(sizeof(*p));
    p->n_references = 1;
    for (int i = 0; i < 2; i++) {
        if (--p->n_references == 0)
            free(p);
    }
    return 0;
}
