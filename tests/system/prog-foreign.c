/*
 * Has pointers of other allocators freed, asked for their size and resized by the library.
 *
 *   prog-foreign second   lib-foreign-second.c's blocks: exit 0 if all of them went back to it
 *   prog-foreign libc     the C library's own blocks
 *   prog-foreign stack    a pointer that is nobody's
 *   prog-foreign own      one of the library's own, twice
 *
 * Exit 1 with what went wrong.
 */
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hakmem.h"

static void must(int holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "not so: %s\n", what);
    exit(1);
}

static void *look_up(const char *name)
{
    void *symbol = dlsym(RTLD_DEFAULT, name);
    must(symbol != NULL, name);
    return symbol;
}

/* Ours, with the foreign block's contents; the foreign one is freed. */
static void resize(char *block, size_t n_bytes)
{
    enum hak_owner (*owns)(const void *) = look_up("hak_owns");
    must(owns(block) == HAK_OWNER_NONE, "a foreign block is not the library's");
    memset(block, 'x', n_bytes);
    char *there = realloc(block, 5000);
    must(there && owns(there) != HAK_OWNER_NONE, "a resized block is the library's");
    for (size_t i = 0; i < n_bytes; i++)
        must(there[i] == 'x', "resizing keeps the contents");
    memset(there, 'y', 5000);
    free(there);
}

static void use_second(void)
{
    void *(*second_malloc)(size_t) = look_up("second_malloc");
    unsigned (*n_live)(void) = look_up("second_n_live"),
             (*n_freed)(void) = look_up("second_n_freed");
    void *blocks[20];
    for (int i = 0; i < 20; i++) {
        blocks[i] = second_malloc(100 + i);
        free(malloc(100)); /* the library's own go on beside them */
    }
    must(n_live() == 20, "20 blocks live");
    must(malloc_usable_size(blocks[7]) == 107, "the second allocator tells the size");
    for (int i = 0; i < 19; i++)
        free(blocks[i]);
    must(n_live() == 1 && n_freed() == 19, "19 blocks came back");
    resize(blocks[19], 119);
    must(n_live() == 0 && n_freed() == 20, "the resized one came back");
}

static void use_libc(void)
{
    void *(*libc_malloc)(size_t) = look_up("__libc_malloc");
    for (int i = 0; i < 100; i++) {
        char *block = libc_malloc(1000);
        must(malloc_usable_size(block) >= 1000, "the C library tells the size");
        memset(block, 1, 1000);
        free(block);
    }
    resize(libc_malloc(300), 300);
}

int main(int argc, char **argv)
{
    char on_the_stack[64];
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "second") == 0)
        use_second();
    else if (strcmp(what, "libc") == 0)
        use_libc();
    else if (strcmp(what, "stack") == 0)
        free(on_the_stack + 16);
    else if (strcmp(what, "own") == 0) {
        void *block = malloc(100);
        free(block);
        free(block);
    } else
        return 2;
    return 0;
}
