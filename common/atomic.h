/*
 * Atomic operations with their memory order in the name.
 *
 * The only file that spells a compiler's atomic builtins. Every use that is not relaxed names, at
 * the call, the operation it pairs with; every relaxed one says why that is enough.
 */
#ifndef HAKMEM_COMMON_ATOMIC_H
#define HAKMEM_COMMON_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define atomic_load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_load_seq_cst(p)     __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define atomic_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atomic_add_relaxed(p, v)   __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
#define atomic_sub_relaxed(p, v)   __atomic_sub_fetch((p), (v), __ATOMIC_RELAXED)
#define atomic_swap_acquire(p, v)  __atomic_exchange_n((p), (v), __ATOMIC_ACQUIRE)
#define atomic_swap_release(p, v)  __atomic_exchange_n((p), (v), __ATOMIC_RELEASE)
#define atomic_swap_seq_cst(p, v)  __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define atomic_or_relaxed(p, v)    __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)

/* Strong compare-and-swap; on failure *expected holds the value seen. */
#define atomic_cas_relaxed(p, expected, v)                                                         \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define atomic_cas_acquire(p, expected, v)                                                         \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define atomic_cas_acq_rel(p, expected, v)                                                         \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)
#define atomic_cas_seq_cst(p, expected, v)                                                         \
    __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)

/* Earlier loads come before later accesses; earlier accesses before later stores. Spelt out, since
 * ThreadSanitizer's compiler will not have the builtin; x86 keeps both orders by itself. */
#if defined(__x86_64__) || defined(__i386__)
#define atomic_fence_acquire() __asm__ __volatile__("" ::: "memory")
#define atomic_fence_release() __asm__ __volatile__("" ::: "memory")
#elif defined(__aarch64__)
#define atomic_fence_acquire() __asm__ __volatile__("dmb ishld" ::: "memory")
#define atomic_fence_release() __asm__ __volatile__("dmb ish" ::: "memory")
#else
#define atomic_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define atomic_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)
#endif

/* Keeps the compiler, not the processor, from moving memory accesses across: for a thread and its
 * own signals. */
#define atomic_compiler_barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* Makes the compiler forget what it knows of two variables in registers, and what it has derived
 * from them. */
#define compiler_forget(a, b) __asm__("" : "+r"(a), "+r"(b))

static inline void atomic_spin_hint(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif
