/* expect: not a pointer from this allocator in: normal guards check */
/* A shared mapping. */
#include <stdlib.h>
#include <sys/mman.h>

int main(void)
{
    char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    free(p + 64);
    return 0;
}
