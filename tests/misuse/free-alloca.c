/* expect: not a pointer from this allocator in: normal guards check */
/* Memory of alloca. */
#include <alloca.h>
#include <stdlib.h>

int main(void)
{
    char *p = alloca(200);
    p[0] = 1;
    free(p);
    return 0;
}
