/* expect: free_sized in: normal guards check */
/* free_sized of a large block by far more than it has. */
#include <dlfcn.h>
#include <stdlib.h>

int main(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!sized)
        return 0;
    sized(malloc(200000), 1000000);
    return 0;
}
