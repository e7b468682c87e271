/* expect: free_sized in: normal guards check */
/* free_aligned_sized with an alignment that the block cannot have had. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>

int main(void)
{
    void (*sized)(void *, size_t, size_t) =
        (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!sized)
        return 0;
    char *p = malloc(100), *q = malloc(100);
    sized((uintptr_t)p % 4096 ? p : q, 4096, 100);
    return 0;
}
