/* expect: double free in: normal guards check */
/* By free_sized, both times. */
#include <dlfcn.h>
#include <stdlib.h>

int main(void)
{
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!sized)
        return 0;
    char *p = malloc(100);
    sized(p, 100);
    sized(p, 100);
    return 0;
}
