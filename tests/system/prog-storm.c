/*
 * Everything at once, for whatever allocator this program runs on.
 *
 *   prog-storm SECONDS SEED MAX_LIVE_MIB
 *
 * Longer than other files: one set of blocks, which threads, children and signal handlers share.
 *
 * Threads do random operations of the malloc family on blocks of tiny sizes to several SuperSlabs
 * (blocks.h checks every byte), hand blocks to each other, trim, prewarm and ask for figures.
 * Meanwhile
 *   - threads end, and are cancelled, and others take over what they held;
 *   - threads fork, and so do signal handlers wherever they hit: in some children the interrupted
 * call goes on;
 *   - children, several at a time, check what they inherited, write all over it, free and allocate,
 *     start threads, close all descriptors, fork again, and find their own writes in the end; none
 *     of the parent's blocks may show them;
 *   - commands are spawned.
 * What happens to a daemon meanwhile is for a script to see to.
 *
 * A block is `busy` while its owner is at work on it: such a one may be half of anything in a
 * child. Of the others a child has all: what a thread wrote before it said so (x86, and a fork that
 * copies a page table while other threads write) is there if that is.
 *
 * Exit 0, with a line of counts; abort() with what was wrong; 3 if a child failed; 4 if anything
 * hangs.
 */
#include "tests/system/blocks.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

/*
 * Under ThreadSanitizer two things are left out, since its run time knows neither: a child of a
 * process with threads starts none (it would take the parent's for its own and end), and no thread
 * ends in it, so that no handler forks in one that is about to.
 */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

enum {
    N_WORKERS = 4,
    N_BLOCKS = 500,
    N_EXCHANGES = 64,
    MAX_STEPS = 6000, /* operations until a thread ends and another takes over */
    MAX_CHILDREN = 6, /* at a time */
    MAX_DEPTH = 2,
    PHASE_MS = 150,
    MAX_SECONDS = 60,
    HANG_SECONDS = 100, /* beyond the time that all of it is to take */
    EXIT_CHILD_FAILED = 3,
    EXIT_HANGS = 4,
};

struct place {
    struct block block;
    uint32_t busy; /* its owner is at work on it */
};

struct worker {
    uint64_t random;
    bool is_in_step; /* a thread that is cancelled ends between two */
    pthread_t thread;
    struct place places[N_BLOCKS];
};

static struct worker workers[N_WORKERS];
static struct place exchanges[N_EXCHANGES];
static pthread_mutex_t exchange_locks[N_EXCHANGES];
/* The children's. */
static struct worker child_workers[2];

static double started, seconds;
static bool stop;
static int n_children;
static unsigned depth; /* of this process */

/* Shared with the children. */
static struct counts {
    uint64_t operations, threads, cancelled, forks, forks_in_handlers, continued, signals, trims,
        prewarmed, spawned, walks, checked_in_children;
} * counts;

/* How this thread's fork came about, for the handler that may interrupt it. */
static __thread bool is_forking __attribute__((tls_model("initial-exec")));
static __thread struct worker *own __attribute__((tls_model("initial-exec")));
/* A handler forked, this is the child, and what was interrupted is to go on to its end. */
static volatile sig_atomic_t is_continued;

static int (*prewarm_init)(size_t);
static int (*prewarm_class)(size_t, size_t);
static int (*get_stats)(void *, size_t);

static void count(uint64_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

static bool there_was(uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED) > 0;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool is_over(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

/* ---- what a block goes through ---- */

static void begin(struct place *p)
{
    __atomic_store_n(&p->busy, 1, __ATOMIC_SEQ_CST);
}

static void end(struct place *p)
{
    __atomic_store_n(&p->busy, 0, __ATOMIC_SEQ_CST);
}

/* Only if it is nobody's at the moment: in a child it may be somebody's for ever. */
static void exchange(struct place *p, uint64_t *random)
{
    size_t i = random_below(random, N_EXCHANGES);
    if (pthread_mutex_trylock(&exchange_locks[i]) != 0)
        return;
    begin(&exchanges[i]);
    struct block theirs = exchanges[i].block;
    exchanges[i].block = p->block;
    p->block = theirs;
    end(&exchanges[i]);
    pthread_mutex_unlock(&exchange_locks[i]);
}

static void step(struct worker *w, bool shrinking, bool may_exchange)
{
    uint64_t *random = &w->random;
    struct place *p = &w->places[random_below(random, N_BLOCKS)];
    size_t choice = random_below(random, 16);
    begin(p);
    if (choice < 2 && may_exchange)
        exchange(p, random);
    else
        block_step(&p->block, random, choice, shrinking);
    end(p);
    count(&counts->operations);
}

static void free_all(struct worker *w)
{
    for (size_t i = 0; i < N_BLOCKS; i++) {
        begin(&w->places[i]);
        if (w->places[i].block.bytes)
            block_free(&w->places[i].block, &w->random);
        end(&w->places[i]);
    }
}

/* What is no block's own business. */
static void do_otherwise(uint64_t *random)
{
    static const size_t sizes[] = {16, 100, 500, 1000, 5000, 30000};
    char stats[8192];
    switch (random_below(random, 8)) {
    case 0:
        malloc_trim(random_below(random, 2) << 21);
        count(&counts->trims);
        break;
    case 1:
        if (prewarm_init && prewarm_init((1 + random_below(random, 8)) << 20) == 0)
            count(&counts->prewarmed);
        break;
    case 2:
        if (prewarm_class)
            prewarm_class(sizes[random_below(random, 6)], 1 + random_below(random, 300));
        break;
    case 3:
        if (get_stats)
            get_stats(stats, sizeof(stats));
        break;
    case 4:
        (void)mallinfo2();
        break;
    default:
        if (heap_is_valid) {
            if (!heap_is_valid())
                die("the heap's invariants do not hold");
            count(&counts->walks);
        }
    }
}

/* ---- children ---- */

static void check_quiet(struct place *p, uint64_t *n_bytes)
{
    if (__atomic_load_n(&p->busy, __ATOMIC_SEQ_CST) || !p->block.bytes)
        return;
    pattern_check(&p->block, p->block.bytes, p->block.n_filled, "in a child");
    *n_bytes += p->block.n_filled;
    count(&counts->checked_in_children);
}

/* Beginning anywhere, as long as that does not take too long. */
static void check_inherited(uint64_t *random, uint64_t max_bytes)
{
    uint64_t n_bytes = 0;
    size_t n_all = N_WORKERS * N_BLOCKS, first = random_below(random, n_all);
    for (size_t i = 0; i < n_all && n_bytes < max_bytes; i++) {
        size_t k = (first + i) % n_all;
        check_quiet(&workers[k / N_BLOCKS].places[k % N_BLOCKS], &n_bytes);
    }
    for (size_t i = 0; i < N_EXCHANGES && n_bytes < max_bytes; i++)
        check_quiet(&exchanges[i], &n_bytes);
}

/* In a child: some of what it has inherited becomes its own. */
static void take_over_inherited(struct worker *w)
{
    size_t n_taken = 0;
    for (size_t i = 0; i < N_WORKERS * N_BLOCKS && n_taken < N_BLOCKS / 4; i++) {
        struct place *p = &workers[i / N_BLOCKS].places[i % N_BLOCKS];
        if (p->busy || !p->block.bytes || random_below(&w->random, 2))
            continue;
        struct place *mine = &w->places[n_taken++];
        mine->block = p->block;
        p->block.bytes = NULL;
        pattern_check(&mine->block, mine->block.bytes, mine->block.n_filled, "inherited");
        mine->block.key = __atomic_add_fetch(&next_key, 1, __ATOMIC_RELAXED) * 3 + 77;
        pattern_fill(&mine->block, 0);
    }
}

static void *child_thread(void *argument)
{
    struct worker *w = argument;
    for (int i = 0; i < 100; i++)
        step(w, false, false);
    free_all(w);
    return NULL;
}

static pid_t fork_as(bool in_handler);
static void wait_for(pid_t pid);

/* In a child of a plain fork all functions may be called. */
static void live_as_child(uint64_t seed, bool is_plain)
{
    struct worker *w = &child_workers[0];
    uint64_t random = w->random = seed | 1;
    pthread_t thread;
    bool has_thread = false;
    child_workers[1].random = seed * 7 | 1;
    if (random_below(&random, 4) == 0)
        syscall(SYS_close_range, 3, ~0u, 0);
    check_inherited(&random, random_below(&random, 4) ? 4 << 20 : 64 << 20);
    if (random_below(&random, 4)) {
        take_over_inherited(w);
        if (!UNDER_TSAN && is_plain && random_below(&random, 3) == 0)
            has_thread = pthread_create(&thread, NULL, child_thread, &child_workers[1]) == 0;
        for (int i = 0, n = (int)random_below(&random, 400); i < n; i++) {
            step(w, i > n / 2, false);
            if (random_below(&random, 200) == 0)
                do_otherwise(&random);
        }
        if (has_thread)
            pthread_join(thread, NULL);
        if (depth < MAX_DEPTH && is_plain && random_below(&random, 3) == 0) {
            pid_t pid = fork_as(false);
            if (pid == 0)
                live_as_child(random, true);
            for (int i = 0; i < 100; i++)
                step(w, false, false);
            wait_for(pid);
        }
        free_all(w);
    }
    check_inherited(&random, 4 << 20);
    if (is_plain && random_below(&random, 2))
        exit(0);
    _exit(0);
}

/* With signals and cancellation of this thread as they are. */
static pid_t fork_as(bool in_handler)
{
    is_forking = true;
    pid_t pid = fork();
    is_forking = false;
    if (pid == 0) {
        depth++;
        signal(SIGALRM, SIG_DFL);
        alarm(HANG_SECONDS);
        memset(child_workers, 0, sizeof(child_workers));
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL); /* it may be pending */
    } else if (pid < 0 && errno != EAGAIN) {
        die("fork fails%s: %s", in_handler ? " in a handler" : "", strerror(errno));
    }
    return pid;
}

static void judge(int status)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        (void)!write(2, "a child hangs\n", 14);
        _exit(EXIT_HANGS);
    }
    char line[80];
    int n = snprintf(line, sizeof(line), "pid %d: a child ended with status 0x%x\n", (int)getpid(),
                     (unsigned)status);
    (void)!write(2, line, (size_t)n);
    _exit(EXIT_CHILD_FAILED);
}

static void wait_for(pid_t pid)
{
    int status;
    if (pid < 0)
        return;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            die("waitpid: %s", strerror(errno));
    }
    judge(status);
}

/* One more child may be there: the caller forks it. */
static bool may_fork(void)
{
    if (__atomic_add_fetch(&n_children, 1, __ATOMIC_RELAXED) <= MAX_CHILDREN)
        return true;
    __atomic_sub_fetch(&n_children, 1, __ATOMIC_RELAXED);
    return false;
}

/* A sanitizer may have a child of its own, which reads the program's symbols for its reports, and
 * does not end. */
static void reap(bool wait)
{
    int status;
    pid_t pid;
    while (__atomic_load_n(&n_children, __ATOMIC_RELAXED) > 0 &&
           (pid = waitpid(-1, &status, wait ? 0 : WNOHANG)) > 0) {
        judge(status);
        __atomic_sub_fetch(&n_children, 1, __ATOMIC_RELAXED);
    }
}

static void fork_one(uint64_t *random)
{
    if (!may_fork())
        return;
    uint64_t seed = random_next(random);
    pid_t pid = fork_as(false);
    if (pid == 0)
        live_as_child(seed, true);
    if (pid < 0)
        __atomic_sub_fetch(&n_children, 1, __ATOMIC_RELAXED);
    count(&counts->forks);
}

/* ---- signals ---- */

/* > 0: so many handlers fork; < 0: one does whose child goes on with what was interrupted, which is
 * to find the heap whole: nobody else forks in the midst of a critical section then. */
static int n_forking;

static bool may_fork_in_handler(bool continues)
{
    int none = 0;
    if (is_forking || !may_fork())
        return false;
    if (continues ? __atomic_compare_exchange_n(&n_forking, &none, -100, false, __ATOMIC_SEQ_CST,
                                                __ATOMIC_SEQ_CST)
                  : __atomic_add_fetch(&n_forking, 1, __ATOMIC_SEQ_CST) > 0)
        return true;
    if (!continues)
        __atomic_sub_fetch(&n_forking, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&n_children, 1, __ATOMIC_RELAXED);
    return false;
}

static void on_signal(int signal)
{
    static uint64_t n;
    int saved = errno;
    (void)signal;
    uint64_t turn = __atomic_add_fetch(&n, 1, __ATOMIC_RELAXED);
    count(&counts->signals);
    /* glibc's fork() may not interrupt itself where there are threads. */
    bool continues = turn % 16 == 0;
    if (own && depth == 0 && turn % 8 == 0 && may_fork_in_handler(continues)) {
        pid_t pid = fork_as(true);
        if (pid == 0 && continues) {
            is_continued = 1;
            errno = saved;
            return;
        }
        if (pid == 0) {
            uint64_t random = turn * 77 + 1;
            check_inherited(&random, 1 << 20);
            _exit(0);
        }
        __atomic_sub_fetch(&n_forking, continues ? -100 : 1, __ATOMIC_SEQ_CST);
        if (pid < 0)
            __atomic_sub_fetch(&n_children, 1, __ATOMIC_RELAXED);
        count(&counts->forks_in_handlers);
        if (continues)
            count(&counts->continued);
    }
    errno = saved;
}

static void on_alarm(int signal)
{
    (void)signal;
    (void)!write(2, "hangs\n", 6);
    _exit(EXIT_HANGS);
}

/* ---- threads ---- */

/* In a thread that ends, or is cancelled. */
static void stop_forking(void *argument)
{
    const struct worker *w = argument;
    if (!UNDER_TSAN)
        return;
    own = NULL;
    if (is_continued)
        live_as_child(w->random, false);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    unsigned n_steps = 200 + (unsigned)random_below(&w->random, MAX_STEPS);
    own = w;
    pthread_cleanup_push(stop_forking, w);
    for (unsigned i = 0; i < n_steps && !is_over(); i++) {
        unsigned long phase = (unsigned long)((seconds_now() - started) * 1000) / PHASE_MS;
        w->is_in_step = true;
        step(w, phase % 4 == 3, true);
        if (is_continued)
            live_as_child(w->random, false);
        if (random_below(&w->random, 300) == 0)
            do_otherwise(&w->random);
        if (random_below(&w->random, 2000) == 0)
            fork_one(&w->random);
        if (random_below(&w->random, 5000) == 0)
            free_all(w);
        if (is_continued)
            live_as_child(w->random, false);
        w->is_in_step = false;
        pthread_testcancel();
    }
    pthread_cleanup_pop(1);
    own = NULL;
    return NULL;
}

static void start_thread(struct worker *w)
{
    if (pthread_create(&w->thread, NULL, work, w))
        die("pthread_create fails");
    count(&counts->threads);
}

static void see_off(struct worker *w, const void *result)
{
    if (result != PTHREAD_CANCELED)
        return;
    count(&counts->cancelled);
    if (w->is_in_step)
        die("a thread was cancelled in the midst of its work");
}

static void spawn_one(void)
{
    extern char **environ;
    char *arguments[] = {"true", NULL};
    pid_t pid;
    if (!may_fork())
        return;
    if (posix_spawnp(&pid, "true", NULL, NULL, arguments, environ))
        __atomic_sub_fetch(&n_children, 1, __ATOMIC_RELAXED);
    count(&counts->spawned);
}

/* The main thread sees to it that the others come and go, and disturbs them. */
static void disturb(uint64_t *random)
{
    struct worker *w = &workers[random_below(random, N_WORKERS)];
    switch (random_below(random, 64)) {
    case 0:
        pthread_cancel(w->thread);
        break;
    case 1:
        fork_one(random);
        break;
    case 2:
        if (random_below(random, 4) == 0)
            spawn_one();
        break;
    default:
        pthread_kill(w->thread, SIGUSR1);
        break;
    }
    for (size_t i = 0; i < N_WORKERS; i++) {
        void *result;
        if (pthread_tryjoin_np(workers[i].thread, &result) != 0)
            continue;
        see_off(&workers[i], result);
        start_thread(&workers[i]);
    }
    reap(false);
}

/* On a busy machine it takes longer to have had some of everything. */
static bool is_too_little(void)
{
    bool all = there_was(&counts->cancelled) && there_was(&counts->forks) &&
               there_was(&counts->continued) && there_was(&counts->trims) &&
               there_was(&counts->checked_in_children) &&
               (there_was(&counts->prewarmed) || !prewarm_init);
    return !all && seconds_now() - started < MAX_SECONDS;
}

static void free_everything(void)
{
    for (size_t i = 0; i < N_WORKERS; i++)
        free_all(&workers[i]);
    for (size_t i = 0; i < N_EXCHANGES; i++) {
        if (exchanges[i].block.bytes)
            block_free(&exchanges[i].block, &workers[0].random);
    }
    if (live_bytes)
        die("%llu bytes are still counted live", (unsigned long long)live_bytes);
}

/*
 * The first report has gcc's run time open the program's files. That is a cancellation point: a
 * thread that is to be cancelled would end there, with the run time's locks and ours held, and all
 * others hang. So they are opened now.
 */
static void prepare_for_reports(void)
{
#if UNDER_TSAN
    extern void __sanitizer_symbolize_pc(void *, const char *, char *, size_t);
    char line[300];
    __sanitizer_symbolize_pc((void *)prepare_for_reports, "%f", line, sizeof(line));
#endif
}

static void set_up(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    blocks_init();
    prewarm_init = (int (*)(size_t))dlsym(RTLD_DEFAULT, "hak_ss_prewarm_init");
    prewarm_class = (int (*)(size_t, size_t))dlsym(RTLD_DEFAULT, "hak_ss_prewarm_class");
    get_stats = (int (*)(void *, size_t))dlsym(RTLD_DEFAULT, "hak_stats");
    for (size_t i = 0; i < N_EXCHANGES; i++)
        pthread_mutex_init(&exchange_locks[i], NULL);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGALRM, on_alarm);
    alarm((unsigned)seconds + MAX_SECONDS + HANG_SECONDS);
    prepare_for_reports();
    started = seconds_now();
}

static void say_counts(void)
{
    printf("operations %llu, threads %llu (cancelled %llu), signals %llu, forks %llu, in handlers "
           "%llu "
           "(continued %llu), blocks checked in children %llu, spawned %llu, trims %llu, prewarmed "
           "%llu, "
           "invariants walked %llu\n",
           (unsigned long long)counts->operations, (unsigned long long)counts->threads,
           (unsigned long long)counts->cancelled, (unsigned long long)counts->signals,
           (unsigned long long)counts->forks, (unsigned long long)counts->forks_in_handlers,
           (unsigned long long)counts->continued, (unsigned long long)counts->checked_in_children,
           (unsigned long long)counts->spawned, (unsigned long long)counts->trims,
           (unsigned long long)counts->prewarmed, (unsigned long long)counts->walks);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: %s SECONDS SEED MAX_LIVE_MIB\n", argv[0]);
        return 2;
    }
    seconds = atof(argv[1]);
    uint64_t random = strtoull(argv[2], NULL, 10) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    max_live_bytes = strtoull(argv[3], NULL, 10) << 20;
    counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    set_up();
    for (size_t i = 0; i < N_WORKERS; i++) {
        workers[i].random = random_next(&random) | 1;
        start_thread(&workers[i]);
    }
    while (seconds_now() - started < seconds || is_too_little()) {
        disturb(&random);
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < N_WORKERS; i++) {
        void *result;
        pthread_join(workers[i].thread, &result);
        see_off(&workers[i], result);
    }
    reap(true);
    free_everything();
    say_counts();
    return counts->operations == 0;
}
