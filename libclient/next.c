/* See next.h. */
#include "libclient/next.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void (*free_function)(void *);
static size_t (*usable_function)(void *);

/* POSIX lets the result of dlsym() be copied into a function pointer, ISO C does not let it be
 * cast. */
static void look_up(const char *name, void *function)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function, &symbol, sizeof(symbol));
}

void next_init(void)
{
    look_up("free", &free_function);
    look_up("malloc_usable_size", &usable_function);
    /* Linked in statically, "next" may be ourselves. */
    if (free_function == free)
        free_function = NULL;
}

bool next_free(void *block)
{
    if (!free_function)
        return false;
    free_function(block);
    return true;
}

bool next_usable(const void *block, size_t *n_bytes)
{
    if (!usable_function || !free_function)
        return false;
    *n_bytes = usable_function((void *)block);
    return true;
}
