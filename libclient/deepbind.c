/*
 * dlopen(), without RTLD_DEEPBIND. An object that is loaded with it finds the C library's malloc
 * and free before ours, and frees by the one what the rest of the program has from the other: php,
 * which loads its modules so, crashed at start. HAKMEM_DEEPBIND=keep leaves the flag alone.
 *
 * In the shared library only: a static program has another dlopen().
 */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "libclient/settings.h"

void *dlopen(const char *path, int mode) __attribute__((visibility("default")));

static void *(*next_dlopen)(const char *, int);

static void look_up_next(void)
{
    void *symbol = dlsym(RTLD_NEXT, "dlopen");
    memcpy(&next_dlopen, &symbol, sizeof(symbol));
}

/* The last call is a jump (-O2): the C library asks who called, and looks for the object where that
 * one's RUNPATH says. */
void *dlopen(const char *path, int mode)
{
    if (!next_dlopen)
        look_up_next();
    if (!next_dlopen)
        return NULL;
    return next_dlopen(path, settings.keep_deepbind ? mode : mode & ~RTLD_DEEPBIND);
}
