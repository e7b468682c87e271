/* expect: inside a block in: normal guards check */
/* free_sized of an address within. */
#include <dlfcn.h>
#include <stdlib.h>

int main(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!sized)
        return 0;
    char *p = malloc(1000);
    sized(p + 64, 100);
    return 0;
}
