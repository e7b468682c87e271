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

#include "common/atomic.h"
#include "libclient/settings.h"

void *dlopen(const char *path, int mode) __attribute__((visibility("default")));

typedef void *dlopen_function(const char *path, int mode);

static dlopen_function *next_dlopen; /* atomic, relaxed: all threads find the same */

static dlopen_function *find_next(void)
{
    dlopen_function *next = atomic_load_relaxed(&next_dlopen);
    if (!next) {
        void *symbol = dlsym(RTLD_NEXT, "dlopen");
        memcpy(&next, &symbol, sizeof(symbol));
        atomic_store_relaxed(&next_dlopen, next);
    }
    return next;
}

/* The last call is a jump (-O2): the C library asks who called, and looks for the object where that
 * one's RUNPATH says. */
void *dlopen(const char *path, int mode)
{
    dlopen_function *next = find_next();
    if (!next)
        return NULL;
    return next(path, settings.keep_deepbind ? mode : mode & ~RTLD_DEEPBIND);
}
