/* See lock.h. Drepper's "Futexes are tricky", third mutex, with the owner's id in place of the 1.
 */
#include "libclient/lock.h"

#include "libclient/glue.h"

#define LOCK_SPINS 100

__thread uint32_t lock_own_thread_id __attribute__((tls_model("initial-exec")));
__thread bool lock_all_are_own __attribute__((tls_model("initial-exec")));

uint32_t lock_learn_thread_id(void)
{
    lock_own_thread_id = glue_thread_id();
    return lock_own_thread_id;
}

void lock_wait(struct lock *lock)
{
    uint32_t self = lock_thread_id();

    if (check_unlikely(lock_all_are_own)) {
        /* Or it is another's that is about to fork, too: fork.c. */
        check_or_trap(lock_is_own(lock));
        return;
    }
    /* Critical sections are short: most waits end here, without a system call. */
    for (int i = 0; i < LOCK_SPINS; i++) {
        uint32_t expected = 0;
        /* Relaxed look first, so that spinning does not take the line from the owner. */
        if (atomic_load_relaxed(&lock->word) == 0 &&
            atomic_cas_acquire(&lock->word, &expected, self))
            return;
        atomic_spin_hint();
    }
    for (;;) {
        uint32_t seen = atomic_load_relaxed(&lock->word);
        check_or_trap((seen & ~LOCK_CONTENDED) != LOCK_ORPHANED);
        if (seen == 0) {
            /* Others may still sleep, so the word says contended from here on. Pairs with
             * lock_release. */
            if (atomic_cas_acquire(&lock->word, &seen, self | LOCK_CONTENDED))
                return;
            continue;
        }
        if ((seen & LOCK_CONTENDED) == 0 &&
            !atomic_cas_relaxed(&lock->word, &seen, seen | LOCK_CONTENDED))
            continue;
        glue_futex_wait(&lock->word, seen | LOCK_CONTENDED);
    }
}

void lock_wake(struct lock *lock)
{
    glue_futex_wake_one(&lock->word);
}
