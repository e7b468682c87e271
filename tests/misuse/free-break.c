/* expect: not a pointer from this allocator in: normal guards check */
/* Memory of sbrk. */
#include <stdlib.h>
#include <unistd.h>

int main(void)
{
    char *p = sbrk(4096);
    free(p + 64);
    return 0;
}
