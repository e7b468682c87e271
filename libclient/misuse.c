/* See misuse.h. */
#include "libclient/misuse.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libclient/text.h"
#include "libclient/window.h"

static const char *const sentences[] = {
    [MISUSE_DOUBLE_FREE] = "double free of ",
    [MISUSE_INTERIOR] = "invalid free: inside a block: ",
    [MISUSE_NEVER_ALLOCATED] = "invalid free: no block was ever allocated at ",
    [MISUSE_NOT_LIVE] = "double free or invalid free: nothing is allocated at ",
    [MISUSE_FOREIGN] = "invalid free: not a pointer from this allocator: ",
    [MISUSE_SIZE] = "free_sized: the size is not that of the block ",
    [MISUSE_OVERFLOW] = "buffer overflow: written past the end of ",
    [MISUSE_UNDERFLOW] = "buffer underflow: written before the start of ",
    [MISUSE_USE_AFTER_FREE] = "use after free: written to ",
};

static void describe_place(struct text *text, const void *pointer)
{
    unsigned class = window_class(pointer);
    if (class == CLASS_NONE)
        return;
    uint32_t index = window_index(pointer);
    unsigned first = window_slab(index)->first_unit[window_unit(pointer)];
    uintptr_t run = (uintptr_t)window_address(index) + first * UNIT_BYTES;
    if (class == CLASS_HUGE) {
        text_add(text, " (huge block, SuperSlab ");
        text_add_number(text, index);
    } else if (class == CLASS_LARGE) {
        text_add(text, " (large block, run ");
        text_add_hex(text, run);
    } else {
        text_add(text, " (class ");
        text_add_number(text, sizeclass_bytes(class));
        text_add(text, ", span ");
        text_add_hex(text, run);
    }
    text_add(text, ")");
}

_Noreturn void misuse_abort(enum misuse misuse, const void *pointer)
{
    char buffer[256];
    struct text text = {.bytes = buffer, .capacity = sizeof(buffer)};
    text_add(&text, "hakmem: ");
    text_add(&text, sentences[misuse]);
    text_add_hex(&text, (uintptr_t)pointer);
    describe_place(&text, pointer);
    text_add(&text, "\n");
    text_write(&text, STDERR_FILENO);
    abort();
}
