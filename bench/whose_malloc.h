/*
 * whose_malloc(): the file that serves this process's malloc, as the loader resolved it, or "". A
 * program that is not position-independent has an entry of its own that only jumps there (an
 * undefined symbol with an address): that is passed over. Allocates nothing.
 */
#ifndef HAKMEM_BENCH_WHOSE_MALLOC_H
#define HAKMEM_BENCH_WHOSE_MALLOC_H

#include <dlfcn.h>
#include <elf.h>
#include <stddef.h>
#include <stdint.h>

/* <link.h> has this as ElfW(Sym), but our include path has a link.h of its own. */
#if UINTPTR_MAX > UINT32_MAX
#define WHOSE_SYMBOL Elf64_Sym
#else
#define WHOSE_SYMBOL Elf32_Sym
#endif

static inline const char *whose_malloc(void)
{
    void *const scopes[] = {RTLD_DEFAULT, RTLD_NEXT};
    for (unsigned i = 0; i < 2; i++) {
        void *function = dlsym(scopes[i], "malloc");
        Dl_info info;
        const WHOSE_SYMBOL *symbol = NULL;
        if (!function || !dladdr1(function, &info, (void **)&symbol, RTLD_DL_SYMENT))
            continue;
        if (info.dli_fname && symbol && symbol->st_shndx != SHN_UNDEF)
            return info.dli_fname;
    }
    return "";
}

/* What hakmem says of a block (enum hak_owner), or -1 where there is no hakmem to ask. */
static inline int whose_block(const void *block)
{
    int (*owns)(const void *) = (int (*)(const void *))dlsym(RTLD_DEFAULT, "hak_owns");
    return owns ? owns(block) : -1;
}

#endif
