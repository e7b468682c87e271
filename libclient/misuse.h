/*
 * What a program did wrong with a pointer, said on stderr, and the end of it: abort(). Allocates
 * nothing, uses no stdio, and is called with no lock held.
 */
#ifndef HAKMEM_LIBCLIENT_MISUSE_H
#define HAKMEM_LIBCLIENT_MISUSE_H

#include <stddef.h>

enum misuse {
    MISUSE_DOUBLE_FREE,
    MISUSE_INTERIOR,        /* inside a block, not its beginning */
    MISUSE_NEVER_ALLOCATED, /* inside a span, but no block was ever there */
    MISUSE_NOT_LIVE,  /* in our window, where nothing is allocated now: a double free, or a wild
                         pointer */
    MISUSE_FOREIGN,   /* no memory of this allocator's */
    MISUSE_SIZE,      /* free_sized with another size than was asked for */
    MISUSE_OVERFLOW,  /* written past the end */
    MISUSE_UNDERFLOW, /* written before the start */
    MISUSE_USE_AFTER_FREE, /* written after free */
    /* Seen by the fault that they caused. */
    MISUSE_ACCESS_BEHIND,  /* read or written past the end */
    MISUSE_ACCESS_FREED,   /* read or written after free */
    MISUSE_ACCESS_NOWHERE, /* near our blocks, but in none that ever was */
};

/* "hakmem: double free of 0x7f.. (64-byte class, span 0x7f..)" and abort. */
_Noreturn void misuse_abort(enum misuse misuse, const void *pointer);
/* The same, for whom knows the block: "... of 0x7f.. (byte 104 of the block of 100 bytes at
 * 0x7f..)". */
_Noreturn void misuse_abort_in(enum misuse misuse, const void *pointer, const void *block,
                               size_t n_bytes);

#endif
