/*
 * prog-deepbind: loads an object by its bare name, to be found by this program's RUNPATH, with
 * RTLD_DEEPBIND, and exchanges blocks with it.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    void *object = dlopen("lib-deepbind-object.so", RTLD_LAZY | RTLD_GLOBAL | RTLD_DEEPBIND);
    if (!object) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    char *(*make)(void) = (char *(*)(void))dlsym(object, "object_make");
    void (*drop)(void *) = (void (*)(void *))dlsym(object, "object_drop");
    for (size_t n = 1; n < 5000000; n = n * 3 + 1) {
        char *made = make();
        if (strcmp(made, "made by the object") != 0)
            return 1;
        free(made);
        drop(memset(malloc(n), 1, n));
    }
    return 0;
}
