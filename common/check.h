/*
 * Checks that stay on in every build.
 *
 * check_or_trap() is for invariants of our own: it stops the process at the spot, without
 * allocating and without stdio, so that a debugger or a core shows the broken state. A peer's input
 * is never checked with it.
 */
#ifndef HAKMEM_COMMON_CHECK_H
#define HAKMEM_COMMON_CHECK_H

#include <assert.h>

#define check_likely(x)   __builtin_expect(!!(x), 1)
#define check_unlikely(x) __builtin_expect(!!(x), 0)

/* Tells the compiler what holds; nothing is looked at. */
#define check_known(condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            __builtin_unreachable();                                                               \
    } while (0)

#define check_or_trap(condition)                                                                   \
    do {                                                                                           \
        if (check_unlikely(!(condition)))                                                          \
            __builtin_trap();                                                                      \
    } while (0)

/* Expensive walks over whole structures: debug builds only (make DEBUG=1). */
#ifdef HAKMEM_DEBUG
#define check_debug(condition) check_or_trap(condition)
#else
#define check_debug(condition) ((void)sizeof(condition))
#endif

#endif
