/* expect: not a pointer from this allocator in: normal guards check */
/* The kernel's half of the address space. In normal mode SIGSEGV, unnamed. */
#include <stdlib.h>

int main(void)
{
    free((void *)0xffff888000000000);
    return 0;
}
