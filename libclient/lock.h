/*
 * The library's locks: one word, a futex when contended, the owner's thread id inside.
 *
 * The owner is there for fork(): a signal handler that interrupted a critical section may fork, and
 * the prepare handler must then not wait for a lock that its own thread holds. Rule that makes this
 * sound: no thread ever waits for one lock while it holds another (fork.c, which takes them all,
 * tries and backs off). docs/concurrency.md lists the locks.
 */
#ifndef HAKMEM_LIBCLIENT_LOCK_H
#define HAKMEM_LIBCLIENT_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/atomic.h"
#include "common/check.h"

struct lock {
    uint32_t
        word; /* 0: free; else the owner's thread id, and LOCK_CONTENDED if somebody may sleep */
};

#define LOCK_CONTENDED 0x80000000u

/* In a child that was forked while another thread was within the critical section: nobody will ever
 * leave it. To wait for it traps. The number is no thread's. */
#define LOCK_ORPHANED 0x7fffffffu

extern __thread uint32_t lock_own_thread_id
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * The calling thread holds all of fork.c's locks, from the prepare handler on until it is through
 * on either side. Other libraries' handlers run in between, and allocate: what these take is held
 * already, and what they let go stays held.
 */
extern __thread bool lock_all_are_own
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

void lock_wait(struct lock *lock);
void lock_wake(struct lock *lock);
uint32_t lock_learn_thread_id(void);

static inline uint32_t lock_thread_id(void)
{
    uint32_t id = lock_own_thread_id;
    return check_likely(id) ? id : lock_learn_thread_id();
}

/* Acquire: pairs with the release in lock_release; the last owner's stores are visible. */
static inline bool lock_try_acquire(struct lock *lock)
{
    uint32_t expected = 0;
    return atomic_cas_acquire(&lock->word, &expected, lock_thread_id());
}

static inline void lock_acquire(struct lock *lock)
{
    if (check_unlikely(!lock_try_acquire(lock)))
        lock_wait(lock);
}

/* Release: pairs with the acquire in lock_try_acquire and lock_wait. */
static inline void lock_release(struct lock *lock)
{
    if (check_unlikely(lock_all_are_own))
        return;
    if (check_unlikely((atomic_swap_release(&lock->word, 0) & LOCK_CONTENDED) != 0))
        lock_wake(lock);
}

/* 0: none. */
static inline uint32_t lock_owner(const struct lock *lock)
{
    return atomic_load_relaxed(&lock->word) & ~LOCK_CONTENDED;
}

/* Relaxed: only this thread writes its own id into the word. */
static inline bool lock_is_own(const struct lock *lock)
{
    return lock_owner(lock) == lock_thread_id();
}

#endif
