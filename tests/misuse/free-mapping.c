/* expect: not a pointer from this allocator in: normal guards check */
/* A mapping of the program's own. */
#include <stdlib.h>
#include <sys/mman.h>

int main(void)
{
    void *p = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(p);
    return 0;
}
