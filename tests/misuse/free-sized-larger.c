/* expect: free_sized in: normal guards check */
/* free_sized with far more than was asked for. */
#include <dlfcn.h>
#include <stdlib.h>

int main(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!sized)
        return 0;
    sized(malloc(100), 5000);
    return 0;
}
