/*
 * prctl() and syscall(), as the C library's, to see when a seccomp filter is put in place: malloc
 * learns before that it is to do nothing unusual any more (confinement.h). libseccomp, and who does
 * without it, comes by one of the two. A filter for one thread counts for all of them, as does one
 * that a child of vfork() puts in place, whose memory is its parent's: all they lose is the daemon.
 *
 * syscall() is the bare instruction without a stack frame, as in the C library: a child that it
 * puts on another stack returns there as ever.
 *
 * In the shared library only; on other machines than x86-64 prctl() alone.
 */
#include <assert.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "libclient/confinement.h"

int prctl(int option, ...) __attribute__((visibility("default")));

#if defined(__x86_64__)

static_assert(SYS_seccomp == 317, "the number below");

/* No functions of C, in which a compiler puts what it likes. The first goes on in the second, whose
 * sixth argument for the kernel is on the stack. */
__asm__(".text\n"
        ".globl syscall\n"
        ".type syscall, @function\n"
        "syscall:\n\t"
        ".cfi_startproc\n\t"
        "cmpq $317, %rdi\n\t"
        "je seccomp_call_seccomp\n\t"
        ".cfi_endproc\n"
        ".size syscall, . - syscall\n"
        ".globl seccomp_call_kernel\n"
        ".hidden seccomp_call_kernel\n"
        ".type seccomp_call_kernel, @function\n"
        "seccomp_call_kernel:\n\t"
        ".cfi_startproc\n\t"
        "movq %rdi, %rax\n\t"
        "movq %rsi, %rdi\n\t"
        "movq %rdx, %rsi\n\t"
        "movq %rcx, %rdx\n\t"
        "movq %r8, %r10\n\t"
        "movq %r9, %r8\n\t"
        "movq 8(%rsp), %r9\n\t"
        "syscall\n\t"
        "cmpq $-4095, %rax\n\t"
        "jae 1f\n\t"
        "ret\n"
        "1:\tmovq %rax, %rdi\n\t"
        "jmp seccomp_fail\n\t"
        ".cfi_endproc\n"
        ".size seccomp_call_kernel, . - seccomp_call_kernel\n");

long seccomp_call_kernel(long number, ...) __attribute__((visibility("hidden")));
/* Where these two go on. */
long seccomp_fail(long result) __attribute__((visibility("hidden")));
long seccomp_call_seccomp(long number, unsigned long operation, unsigned long flags, void *argument)
    __attribute__((visibility("hidden")));

long seccomp_fail(long result)
{
    errno = (int)-result;
    return -1;
}

#else
#define seccomp_call_kernel syscall
#endif

/* A system call that puts a filter in place, or fails. */
static long confine(long number, unsigned long a, unsigned long b, unsigned long c, unsigned long d,
                    unsigned long e)
{
    confinement_begin();
    long result = seccomp_call_kernel(number, a, b, c, d, e);
    if (result < 0)
        confinement_undo();
    return result;
}

int prctl(int option, ...)
{
    va_list arguments;
    va_start(arguments, option);
    unsigned long a = va_arg(arguments, unsigned long);
    unsigned long b = va_arg(arguments, unsigned long);
    unsigned long c = va_arg(arguments, unsigned long);
    unsigned long d = va_arg(arguments, unsigned long);
    va_end(arguments);
    unsigned long number = (unsigned long)option;
    return (int)(option == PR_SET_SECCOMP ? confine(SYS_prctl, number, a, b, c, d)
                                          : seccomp_call_kernel(SYS_prctl, number, a, b, c, d));
}

#if defined(__x86_64__)

long seccomp_call_seccomp(long number, unsigned long operation, unsigned long flags, void *argument)
{
    bool confines = operation == SECCOMP_SET_MODE_FILTER || operation == SECCOMP_SET_MODE_STRICT;
    return confines ? confine(number, operation, flags, (unsigned long)argument, 0, 0)
                    : seccomp_call_kernel(number, operation, flags, argument);
}

#endif
