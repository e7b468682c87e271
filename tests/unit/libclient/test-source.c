/*
 * The source of SuperSlabs with a fake daemon, which answers at the moment the library begins to
 * wait and at no other: ppoll(), by which it waits, is defined here. So are mmap(), syscall() and
 * madvise(), to refuse, and the clock.
 */
#include "fake-daemon.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "libclient/conversion.h"
#include "libclient/extents.h"
#include "libclient/freeslabs.h"
#include "libclient/glue.h"
#include "libclient/heap.h"
#include "libclient/huge.h"
#include "libclient/leases.h"
#include "libclient/link.h"
#include "libclient/settings.h"
#include "libclient/source.h"
#include "libclient/window.h"

#define N_ANSWERS 8

static struct fake *daemon_side;
static uint32_t next_slot;
static uint64_t next_id = 100;
/* SuperSlabs of the extent that answers the nth request from here on. */
static uint32_t answers[N_ANSWERS];
static unsigned n_answers, n_answered;
static uint32_t runs_asked[N_ANSWERS];

static void answer(void)
{
    bool is_hello = daemon_side->peer < 0;
    if (is_hello)
        fake_accept(daemon_side);
    Hakmem__Request *request = fake_read(daemon_side);
    assert_true(n_answered < n_answers);
    uint32_t n_slabs = answers[n_answered];
    runs_asked[n_answered] = is_hello ? 0 : request->lease->run_slabs;
    n_answered++;
    struct grant_spec spec = grant_good(1);
    spec.extents[0].id = next_id++;
    spec.extents[0].n_slabs = n_slabs;
    spec.extents[0].first_slot = next_slot;
    spec.extents[0].real_bytes = superslab_bytes(n_slabs);
    next_slot += n_slabs;
    assert_true(next_slot <= N_SLOTS);
    fake_grant(daemon_side, request->id, is_hello, &spec);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec left = timeout ? *timeout : (struct timespec){0};
    if (daemon_side && n_answered < n_answers)
        answer();
    return (int)syscall(SYS_ppoll, fds, n, timeout ? &left : NULL, mask, 8);
}

static bool refuses_mappings; /* and to leave memory out of children */

int madvise(void *at, size_t n_bytes, int advice)
{
    if (refuses_mappings && advice == MADV_DONTFORK) {
        errno = ENOMEM;
        return -1;
    }
    return (int)syscall(SYS_madvise, at, n_bytes, advice);
}

void *mmap(void *at, size_t n_bytes, int protection, int flags, int fd, off_t offset)
{
    if (refuses_mappings) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, n_bytes, protection, flags, fd, offset); /* NOLINT */
}

/* By which a copy is mapped. */
long syscall(long number, ...)
{
    static long (*next)(long, ...);
    va_list arguments;
    long argument[6];
    if (refuses_mappings && number == SYS_mmap) {
        errno = ENOMEM;
        return -1;
    }
    if (!next) {
        void *symbol = dlsym(RTLD_NEXT, "syscall");
        memcpy(&next, &symbol, sizeof(next));
    }
    va_start(arguments, number);
    for (unsigned i = 0; i < 6; i++)
        argument[i] = va_arg(arguments, long); /* more than there may be, as libc does */
    va_end(arguments);
    return next(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                argument[5]);
}

static bool is_stopped; /* the clock, at `stopped` */
static struct timespec stopped;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int r = (int)syscall(SYS_clock_gettime, clock, now);
    if (is_stopped)
        *now = stopped;
    return r;
}

/* The requests that are under way or come next get extents of these sizes. */
static void will_answer(unsigned n, const uint32_t *n_slabs)
{
    memcpy(answers, n_slabs, n * sizeof(*n_slabs));
    n_answers = n;
    n_answered = 0;
}

static uint32_t acquire(enum source_want want, uint32_t n_slabs)
{
    uint32_t first;
    bool zero;
    assert_true(source_acquire(want, n_slabs, 1, &first, &zero));
    return first;
}

static bool is_leased(uint32_t index)
{
    return window_slab(index)->backing == SUPERSLAB_LEASED;
}

/* What is warm is used up, and more has been asked for ahead, which is not answered yet. */
static void use_up_and_ask_ahead(void)
{
    will_answer(1, (const uint32_t[]){2});
    /* The first one is private: source_init() mapped it. */
    assert_false(is_leased(acquire(SOURCE_FOR_UNITS, 1)));
    while (!link_is_pending())
        assert_true(is_leased(acquire(SOURCE_FOR_UNITS, 1)));
    assert_int_equal(n_answered, 1);
    assert_int_equal(source_n_fallbacks(), 0);
}

static void a_huge_block_asks_again_if_what_was_asked_ahead_is_too_short(void **state)
{
    (void)state;
    use_up_and_ask_ahead();
    will_answer(2, (const uint32_t[]){1, 4});
    uint32_t first = acquire(SOURCE_FOR_HUGE, 4);
    for (uint32_t i = first; i < first + 4; i++)
        assert_true(is_leased(i));
    assert_int_equal(n_answered, 2);
    assert_int_equal(runs_asked[0], 1);
    assert_int_equal(runs_asked[1], 4);
    assert_int_equal(source_n_fallbacks(), 0);
}

static uint32_t *word_of(uint32_t index)
{
    return &link_words()->slots[window_slab(index)->slot];
}

static enum slab_state state_of(uint32_t index)
{
    return ledger_word_state(ledger_slot_read(word_of(index)));
}

static bool daemon_changes(uint32_t index, enum slab_state to)
{
    return ledger_slab_change(word_of(index), ledger_slot_read(word_of(index)), LEDGER_DAEMON, to);
}

/*
 * At a fork the kernel refuses every copy, while the daemon is punching a free SuperSlab: that one
 * is not taken until the punch is over, which would take a block's contents.
 */
static void what_is_being_punched_is_not_taken_after_a_conversion_that_failed(void **state)
{
    (void)state;
    /* More than an earlier connection may have left. */
    will_answer(1, (const uint32_t[]){8});
    uint32_t punched = acquire(SOURCE_FOR_HUGE, 8) + 7, used = punched - 1;
    source_release(punched, 1);
    assert_true(extents_is_current(used) && extents_is_current(punched));
    assert_true(daemon_changes(punched, SLAB_RECLAIMING));

    refuses_mappings = true;
    conversion_at_fork(false);
    refuses_mappings = false;
    assert_int_equal(state_of(used), SLAB_PINNED);
    assert_int_equal(state_of(punched), SLAB_RECLAIMING);

    settings.connect = SETTINGS_CONNECT_OFF;
    for (unsigned i = 0; i < 4; i++)
        assert_int_not_equal(acquire(SOURCE_FOR_UNITS, 1), punched);
    assert_true(daemon_changes(punched, SLAB_RECLAIMED));
    bool zero, is_taken = false;
    for (unsigned i = 0; i < 4 && !is_taken; i++) {
        uint32_t first;
        assert_true(source_acquire(SOURCE_FOR_UNITS, 1, 1, &first, &zero));
        is_taken = first == punched;
    }
    assert_true(is_taken && zero);
}

/* As long as no copy can be had: the next fork makes one. */
static void a_conversion_that_failed_is_made_up_for(void **state)
{
    (void)state;
    will_answer(1, (const uint32_t[]){8});
    uint32_t first = acquire(SOURCE_FOR_HUGE, 8);
    *(char *)window_address(first + 3) = 7;
    refuses_mappings = true;
    conversion_at_fork(false);
    assert_true(is_leased(first));
    refuses_mappings = false;
    conversion_at_fork(false);
    for (uint32_t i = first; i < first + 8; i++) {
        assert_int_equal(window_slab(i)->backing, SUPERSLAB_COPIED);
        assert_int_equal(state_of(i), SLAB_PINNED);
    }
    assert_int_equal(*(char *)window_address(first + 3), 7);
}

/* What was free a moment ago may be wanted the next, though the clock's second ended since. */
static void what_was_copied_is_returned_after_a_second(void **state)
{
    (void)state;
    will_answer(1, (const uint32_t[]){8});
    uint32_t first = acquire(SOURCE_FOR_HUGE, 8);
    conversion_at_fork(false);
    clock_gettime(CLOCK_MONOTONIC, &stopped);
    is_stopped = true;
    source_release(first, 8);
    settings.connect = SETTINGS_CONNECT_OFF;
    stopped.tv_sec++;
    source_tick();
    assert_int_equal(window_slab(first)->backing, SUPERSLAB_COPIED);
    stopped.tv_sec++;
    source_tick();
    is_stopped = false;
    assert_int_equal(window_slab(first)->backing, SUPERSLAB_UNBACKED);
}

/* The memory can neither be copied nor left out of the child. */
static void a_child_that_would_share_memory_stops(void **state)
{
    (void)state;
    int status;
    will_answer(1, (const uint32_t[]){8});
    uint32_t first = acquire(SOURCE_FOR_HUGE, 8);
    char *used = window_address(first);
    *used = 7;
    source_release(first + 4, 4);
    refuses_mappings = true;
    conversion_at_fork(false);
    refuses_mappings = false;
    for (unsigned free = 0; free < 2; free++) {
        pid_t pid = fork();
        if (pid == 0) {
            signal(SIGSEGV, SIG_DFL);
            conversion_in_child();
            *(free ? (char *)window_address(first + 4) : used) = 8;
            _exit(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        /* What is free is new memory there. */
        assert_true(free ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
        assert_int_equal(*used, 7);
        assert_int_equal(*(char *)window_address(first + 4), 0);
    }
    /* Nothing is left for the next test. */
    settings.connect = SETTINGS_CONNECT_OFF;
    for (unsigned i = 0; i < 4; i++)
        acquire(SOURCE_FOR_UNITS, 1);
}

/* What cannot be mapped goes back to the daemon, which is not asked for more at once. */
static void what_cannot_be_mapped_is_returned(void **state)
{
    (void)state;
    will_answer(1, (const uint32_t[]){8});
    acquire(SOURCE_FOR_HUGE, 8);

    will_answer(2, (const uint32_t[]){1, 16});
    refuses_mappings = true;
    uint32_t first = acquire(SOURCE_FOR_HUGE, 16);
    refuses_mappings = false;
    assert_int_equal(window_slab(first)->backing, SUPERSLAB_PRIVATE);
    assert_int_equal(n_answered, 1);
    assert_int_equal(leases.unmappable, 1);
    const Hakmem__Request *request = fake_read(daemon_side);
    assert_int_equal(request->body_case, HAKMEM__REQUEST__BODY_RETURN_EXTENTS);
    assert_int_equal(request->return_extents->n_extent_ids, 1);
    assert_true(request->return_extents->extent_ids[0] == next_id - 1);
}

static uint64_t n_calls_of_turns(uint32_t index)
{
    uint64_t n_calls = glue_n_syscalls();
    for (unsigned i = 0; i < 10; i++) {
        source_release(index, 1);
        assert_int_equal(acquire(SOURCE_FOR_HUGE, 1), index);
    }
    return glue_n_syscalls() - n_calls;
}

/* What has lost its 2 MiB page is mapped by a system call when it is taken, not each time that it
 * is; and again when the daemon has taken its pages. */
static void small_pages_are_mapped_once(void **state)
{
    (void)state;
    uint32_t index, again;
    bool zero;
    will_answer(1, (const uint32_t[]){2});
    while (!is_leased(index = acquire(SOURCE_FOR_UNITS, 1)))
        ;
    is_stopped = clock_gettime(CLOCK_MONOTONIC_COARSE, &stopped) == 0;
    struct superslab *slab = window_slab(index);
    slab->huge_page = true;
    uint64_t n_calls = n_calls_of_turns(index);
    slab->huge_page = slab->is_mapped_in = false;
    assert_int_equal(n_calls_of_turns(index), n_calls + 1);
    assert_int_equal(n_calls_of_turns(index), n_calls);
    source_release(index, 1);
    assert_true(daemon_changes(index, SLAB_RECLAIMING));
    assert_true(daemon_changes(index, SLAB_RECLAIMED));
    freeslabs_remove(index);
    freeslabs_put_cold(index);
    while (freeslabs_take(FREESLABS_COLD, 1, 1, &again, &zero) && again != index)
        ;
    assert_int_equal(again, index);
    assert_int_equal(n_calls_of_turns(index), n_calls + 1);
    is_stopped = false;
}

/*
 * A handler that forks may have interrupted whoever changes the lists of what is free: what the
 * daemon has sent meanwhile comes in later, and not beneath him.
 */
static void a_fork_within_a_change_takes_nothing_in(void **state)
{
    (void)state;
    will_answer(1, (const uint32_t[]){2});
    while (!link_is_pending())
        acquire(SOURCE_FOR_UNITS, 1);
    will_answer(1, (const uint32_t[]){2});
    answer();
    int32_t n_free = freeslabs_count();
    conversion_at_fork(true);
    assert_int_equal(freeslabs_count(), n_free);
    assert_true(link_is_pending());
    while (!is_leased(acquire(SOURCE_FOR_UNITS, 1)))
        ;
    assert_int_equal(n_answered, 1);
    /* Nothing is left for the next test. */
    settings.connect = SETTINGS_CONNECT_OFF;
    while (freeslabs_count() > 0)
        acquire(SOURCE_FOR_UNITS, 1);
}

enum { N_TURNS = 500 };
static uint32_t n_turns;

static void *take_and_free(void *unused)
{
    bool zero;
    (void)unused;
    for (; atomic_load_relaxed(&n_turns) < N_TURNS; atomic_add_relaxed(&n_turns, 1)) {
        void *block = huge_allocate(7 * SUPERSLAB_BYTES, 16, false, &zero);
        assert_non_null(block);
        assert_true(is_leased(window_index(block)));
        huge_free(block);
    }
    return NULL;
}

/* A part of an extent is looked at, for its return, while the rest is in another thread's hands.
 * Whether that may be is for ThreadSanitizer to say. */
static void an_extent_is_looked_at_beside_who_uses_it(void **state)
{
    (void)state;
    pthread_t other;
    will_answer(1, (const uint32_t[]){8});
    uint32_t first = acquire(SOURCE_FOR_HUGE, 8);
    source_release(first, 1);
    assert_true(daemon_changes(first, SLAB_RECLAIMING) && daemon_changes(first, SLAB_RECLAIMED));
    source_release(first + 1, 7);
    settings.connect = SETTINGS_CONNECT_OFF;
    assert_int_equal(pthread_create(&other, NULL, take_and_free, NULL), 0);
    while (atomic_load_relaxed(&n_turns) < N_TURNS)
        source_trim(0);
    pthread_join(other, NULL);
    assert_int_equal(acquire(SOURCE_FOR_HUGE, 7),
                     first + 1); /* nothing is left for the next test */
}

static int set_up(void **state)
{
    if (setup(state) != 0 || !heap_is_ready())
        return -1;
    daemon_side = *state;
    next_slot = 0;
    settings.is_loaded = true;
    settings.connect = SETTINGS_CONNECT_LAZY;
    settings.socket_path = daemon_side->path;
    settings.wait_us = PATIENCE_MS * 1000;
    link_init(daemon_side->path, true,
              settings.wait_us); /* no refusal for lateness, in any of them */
    return 0;
}

static int tear_down(void **state)
{
    daemon_side = NULL;
    settings.connect = SETTINGS_CONNECT_OFF;
    return teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_huge_block_asks_again_if_what_was_asked_ahead_is_too_short, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_is_being_punched_is_not_taken_after_a_conversion_that_failed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_conversion_that_failed_is_made_up_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_copied_is_returned_after_a_second, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_child_that_would_share_memory_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_pages_are_mapped_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fork_within_a_change_takes_nothing_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_extent_is_looked_at_beside_who_uses_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_mapped_is_returned, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
