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
    [MISUSE_ACCESS_BEHIND] = "buffer overflow: read or written past the end, at ",
    [MISUSE_ACCESS_FREED] = "use after free: read or written at ",
    [MISUSE_ACCESS_NOWHERE] = "wild pointer: read or written where no block is, at ",
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
    } else if (class == CLASS_FIRST) {
        text_add(text, " (among the first blocks, run ");
        text_add_hex(text, run);
    } else {
        text_add(text, " (class ");
        text_add_number(text, sizeclass_bytes(class));
        text_add(text, ", span ");
        text_add_hex(text, run);
    }
    text_add(text, ")");
}

static void begin(struct text *text, enum misuse misuse, const void *pointer)
{
    text_add(text, "hakmem: ");
    text_add(text, sentences[misuse]);
    text_add_hex(text, (uintptr_t)pointer);
}

static _Noreturn void end(struct text *text)
{
    text_add(text, "\n");
    text_write(text, STDERR_FILENO);
    abort();
}

_Noreturn void misuse_abort(enum misuse misuse, const void *pointer)
{
    char buffer[256];
    struct text text = {.bytes = buffer, .capacity = sizeof(buffer)};
    begin(&text, misuse, pointer);
    describe_place(&text, pointer);
    end(&text);
}

_Noreturn void misuse_abort_in(enum misuse misuse, const void *pointer, const void *block,
                               size_t n_bytes)
{
    char buffer[256];
    struct text text = {.bytes = buffer, .capacity = sizeof(buffer)};
    begin(&text, misuse, pointer);
    text_add(&text, " (byte ");
    if ((uintptr_t)pointer < (uintptr_t)block)
        text_add(&text, "-");
    uintptr_t distance = (uintptr_t)pointer - (uintptr_t)block;
    text_add_number(&text, (intptr_t)distance < 0 ? -distance : distance);
    text_add(&text, " of the block of ");
    text_add_number(&text, n_bytes);
    text_add(&text, " bytes at ");
    text_add_hex(&text, (uintptr_t)block);
    text_add(&text, ")");
    end(&text);
}
