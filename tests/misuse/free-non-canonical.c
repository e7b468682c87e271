/* expect: not a pointer from this allocator in: normal guards check */
/* A value that no pointer can have. The fast path of the normal mode looks it up and so dies of
 * SIGSEGV: stopped, unnamed. */
#include <stdlib.h>

int main(void)
{
    free((void *)0xdeadbeefdeadbeef);
    return 0;
}
