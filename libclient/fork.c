/*
 * See fork.h.
 *
 * Deadlock: a signal handler may fork while its thread is inside a critical section. That lock is
 * then held already, stays held in both processes, and is released where the handler returns to.
 * The others are tried, never waited for: whoever holds one may be about to fork itself. If both
 * are within critical sections, each holds what the other needs, and neither will let go before it
 * has forked. Then the first one forks all the same, while the other stands still; in the child,
 * what the other was at work on is out of use (LOCK_ORPHANED).
 *
 * A library whose constructor ran before ours has its prepare handler run after ours, and its
 * child handler before: with our locks held. It may allocate all the same (lock.h), but nothing
 * that would be shared with the child is leased meanwhile.
 */
#include "libclient/fork.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "hakmem.h"
#include "libclient/cache.h"
#include "libclient/conversion.h"
#include "libclient/glue.h"
#include "libclient/guard.h"
#include "libclient/heap.h"
#include "libclient/leases.h"
#include "libclient/lock.h"
#include "libclient/purge.h"
#include "libclient/runs.h"
#include "libclient/source.h"
#include "libclient/span.h"
#include "libclient/tables.h"
#include "libclient/publish.h"

/* The numbers of the first two locks. */
#define SOURCE_LOCK    0u
#define PURGE_LOCK     1u
#define N_SINGLE_LOCKS 5u
#define N_LOCKS        (N_SINGLE_LOCKS + N_ARENAS * N_SMALL)

/*
 * Written by the one thread that holds all locks, or that is the only one. With no other thread
 * there is nobody to keep out, so that none is taken: to write to them on both sides of a fork
 * copies a dozen pages on each.
 */
enum hold {
    HOLD_TAKEN = 0, /* by keep_others_out() */
    HOLD_OWN,       /* by what this handler interrupted */
    HOLD_OTHERS     /* by a thread that stands still, in keep_others_out() */
};
static TABLE_LARGE uint8_t holds[N_LOCKS];
static bool is_alone;
/* Alone, and in the midst of this many critical sections. */
static TABLE_LARGE unsigned own[N_LOCKS];
static unsigned n_own;
/* The program's signals, which wait while the locks are held: likewise. */
static sigset_t signals;
/* prepare() calls in force: glibc's fork() and our _Fork() may nest. */
static __thread unsigned depth __attribute__((tls_model("initial-exec")));
/* Did they take the locks? Not if the heap was yet to be set up, which another thread may do at any
 * moment. */
static __thread bool holds_all __attribute__((tls_model("initial-exec")));

static struct lock *nth_lock(unsigned n)
{
    switch (n) {
    case SOURCE_LOCK:
        return source_lock();
    case PURGE_LOCK:
        return purge_lock();
    case 2:
        return runs_lock();
    case 3:
        return cache_lock();
    case 4:
        return guard_lock();
    default:
        n -= N_SINGLE_LOCKS;
        return &span_bin(n / N_SMALL, n % N_SMALL + 1)->lock;
    }
}

static void release_first(unsigned n)
{
    while (n-- > 0) {
        if (holds[n] == HOLD_TAKEN)
            lock_release(nth_lock(n));
    }
}

/* Serialises forks, so that holds[] has one writer; tried, too. */
static struct lock fork_lock;

/* Threads in keep_others_out() that hold locks from before. They leave it with fork_lock alone. */
#define MAX_WAITING 64u
static uint32_t waiting[MAX_WAITING];

static bool is_waiting(uint32_t thread_id)
{
    /* 0: nobody's, the lock has just been let go. */
    for (unsigned i = 0; thread_id != 0 && i < MAX_WAITING; i++) {
        if (atomic_load_acquire(&waiting[i]) == thread_id) /* pairs with begin_to_wait() */
            return true;
    }
    return false;
}

/* Where it is noted; NULL: there is no room, and others wait for this thread in vain. */
static uint32_t *begin_to_wait(void)
{
    for (unsigned i = 0; i < MAX_WAITING; i++) {
        uint32_t none = 0;
        /* Release, and more: what this thread has done under its locks is seen. */
        if (atomic_cas_acq_rel(&waiting[i], &none, lock_thread_id()))
            return &waiting[i];
    }
    return NULL;
}

/* HOLD_TAKEN if it is; or who holds it. False: somebody who will let go of it. `has_own`: this
 * thread will not, of others. */
static bool try_acquire(struct lock *lock, bool has_own, uint8_t *hold)
{
    *hold = HOLD_TAKEN;
    if (lock_is_own(lock))
        *hold = HOLD_OWN;
    else if (lock_try_acquire(lock))
        return true;
    else if (has_own && is_waiting(lock_owner(lock)))
        *hold = HOLD_OTHERS;
    return *hold != HOLD_TAKEN;
}

static bool try_acquire_all(bool has_own)
{
    if (!lock_try_acquire(&fork_lock))
        return false;
    for (unsigned n = 0; n < N_LOCKS; n++) {
        if (!try_acquire(nth_lock(n), has_own, &holds[n])) {
            release_first(n);
            lock_release(&fork_lock);
            return false;
        }
    }
    return true;
}

static bool has_own_locks(void)
{
    for (unsigned n = 0; n < N_LOCKS; n++) {
        if (lock_is_own(nth_lock(n)))
            return true;
    }
    return false;
}

/* With no other thread: of the bins that are in use, the rest of which would be pages to touch. */
static void note_own(void)
{
    unsigned n_locks = N_SINGLE_LOCKS + span_n_arenas() * N_SMALL;
    n_own = 0;
    for (unsigned n = 0; n < n_locks; n++) {
        if (lock_is_own(nth_lock(n)))
            own[n_own++] = n;
    }
}

static void keep_others_out(void)
{
    if (glue_is_single_threaded()) {
        is_alone = true;
        note_own();
        return;
    }
    bool has_own = has_own_locks();
    uint32_t *noted = has_own ? begin_to_wait() : NULL;
    while (!try_acquire_all(has_own))
        glue_pause_us(50); /* whoever holds one is in a short critical section, or waits for the
                              daemon, bounded */
    if (noted)
        atomic_store_relaxed(noted, 0); /* under fork_lock, which orders it */
    is_alone = false;
    lock_all_are_own = true;
}

static void prepare(void)
{
    sigset_t before;
    if (depth > 0) {
        depth++;
        return;
    }
    if (!heap_is_set_up()) {
        depth = 1;
        leases_suspend(); /* the handlers that follow may set it up */
        return;
    }
    /* A handler that forked in the midst of the conversion would have a child in which half of the
     * heap is shared; one that did so after it, a child in which all locks are held. Not counted
     * before: one that forks until the signals wait does all of this itself. */
    glue_block_signals(&before);
    depth = 1;
    keep_others_out();
    signals = before;
    holds_all = true;
    publish_count_fork();
    conversion_at_fork(is_alone ? n_own > 0 : holds[SOURCE_LOCK] != HOLD_TAKEN);
    leases_suspend();
}

static void release_all(void)
{
    sigset_t before = signals;
    if (!is_alone) {
        lock_all_are_own = false;
        release_first(N_LOCKS);
        lock_release(&fork_lock);
    }
    glue_restore_signals(&before);
}

static void in_parent(void)
{
    if (--depth > 0)
        return;
    leases_resume(false);
    if (!holds_all)
        return;
    holds_all = false;
    release_all();
}

/*
 * A lock that the interrupted code below us holds keeps its owner, under the owner's new name. Of
 * what another thread held nobody can tell how far it came; but what source.c does with signals let
 * through is safe at every step, and purge.c keeps nothing that would have to be whole.
 */
static uint32_t word_in_child(unsigned n, uint32_t self)
{
    if (holds[n] == HOLD_OWN)
        return self;
    return holds[n] == HOLD_OTHERS && n != SOURCE_LOCK && n != PURGE_LOCK ? LOCK_ORPHANED : 0;
}

/*
 * The locks carry the parent's thread id, and so does nothing else: they are set free, not released
 * by their owner. Caches of the parent's other threads stay as they are, unused: their threads may
 * have been in the midst of a flush.
 */
static void rename_locks(void)
{
    if (is_alone) {
        for (unsigned i = 0; i < n_own; i++)
            atomic_store_relaxed(&nth_lock(own[i])->word, lock_thread_id());
        return;
    }
    for (unsigned n = 0; n < N_LOCKS; n++)
        atomic_store_relaxed(&nth_lock(n)->word, word_in_child(n, lock_thread_id()));
    atomic_store_relaxed(&fork_lock.word, 0);
    memset(waiting, 0, sizeof(waiting));
}

static void in_child(void)
{
    if (--depth > 0)
        return;
    leases_resume(true);
    lock_own_thread_id = 0; /* the parent's, even if the heap was set up only since prepare() */
    if (!holds_all)
        return;
    holds_all = false;
    lock_all_are_own = false;
    rename_locks();
    conversion_in_child();
    glue_restore_signals(&signals);
}

/* glibc's _Fork() runs no handlers, yet its child may allocate in practice; ours runs them. */
static pid_t (*next_fork)(void);

pid_t _Fork(void) __attribute__((visibility("default")));
/* Not at start: few programs call _Fork(), and every one would pay for the look-up. */
static void look_up_next(void)
{
    void *symbol = dlsym(RTLD_NEXT, "_Fork");
    memcpy(&next_fork, &symbol, sizeof(symbol));
    if (next_fork == _Fork)
        next_fork = NULL;
}

pid_t _Fork(void)
{
    if (!next_fork)
        look_up_next();
    prepare();
    pid_t pid = next_fork ? next_fork() : (pid_t)syscall(SYS_fork);
    if (pid == 0)
        in_child();
    else
        in_parent();
    return pid;
}

/*
 * libc's clone() without CLONE_VM is a fork that runs no handlers. Whatever shares its address
 * space with us goes through untouched.
 */
struct beginning {
    int (*function)(void *);
    void *argument;
};

static int begin_child(void *argument)
{
    struct beginning beginning =
        *(struct beginning *)argument; /* in the child's copy of our stack */
    in_child();
    return beginning.function(beginning.argument);
}

extern int __clone(int (*function)(void *), void *stack, int flags, void *argument, ...);
int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
    __attribute__((visibility("default")));

int clone(int (*function)(void *), void *stack, int flags, void *argument, ...)
{
    va_list rest;
    va_start(rest, argument);
    void *parent_tid = va_arg(rest, void *), *tls = va_arg(rest, void *);
    void *child_tid = va_arg(rest, void *);
    va_end(rest);
    if ((flags & CLONE_VM) || !function)
        return __clone(function, stack, flags, argument, parent_tid, tls, child_tid);
    struct beginning beginning = {function, argument};
    prepare();
    int pid = __clone(begin_child, stack, flags, &beginning, parent_tid, tls, child_tid);
    int saved_errno = errno;
    in_parent();
    errno = saved_errno;
    return pid;
}

void fork_init(void)
{
    pthread_atfork(prepare, in_parent, in_child);
}
