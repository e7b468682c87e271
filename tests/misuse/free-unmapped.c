/* expect: not a pointer from this allocator in: normal guards check */
/* A mapping that is gone. */
#include <stdlib.h>
#include <sys/mman.h>

int main(void)
{
    char *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(p, 65536);
    free(p);
    return 0;
}
