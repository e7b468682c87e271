/*
 * SIGKILL in a loop under fifty working programs: none finds a wrong byte or waits for a daemon
 * that is not there; all are served by each new daemon. With a manager's store they keep their
 * leases, without one they begin anew.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness-manager.h"

#define N_WORKERS 50
#define N_ROUNDS  4
/* No measure of speed: in the kernel a program may be blocked by one that holds a lock and is not
 * scheduled. The library gives up an answer after 2 ms; a program that waits for a dead daemon
 * waits for ever, or half a minute. */
#define STALL_NS (UINT64_C(10) * 1000000000u)

static struct daemon daemon_;
static struct manager manager;
static Hakmem__StatsReply stats;
static pid_t workers[N_WORKERS];
static int work_end, results;

static bool can_preload(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return false;
#elif defined(__has_feature)
    return !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
    return true;
#endif
}

/* In a child: what it becomes is served by the library and our daemon. */
static void preload(void)
{
    char *library = realpath(harness_artifact("libhakmem.so"), NULL);
    require(library != NULL);
    setenv("LD_PRELOAD", library, 1);
    setenv("HAKMEM_SOCKET", daemon_.socket_path, 1);
}

static void start_workers(void)
{
    char program[512], seed[16];
    int to_workers[2], from_workers[2];
    snprintf(program, sizeof(program), "%s", harness_artifact("tests/system/prog-restart-worker"));
    require(pipe2(to_workers, O_CLOEXEC) == 0 && pipe2(from_workers, O_CLOEXEC) == 0);
    for (int i = 0; i < N_WORKERS; i++) {
        workers[i] = harness_fork();
        if (workers[i] != 0)
            continue;
        dup2(to_workers[0], 0);
        dup2(from_workers[1], 1);
        preload();
        snprintf(seed, sizeof(seed), "%d", 1000 + i);
        execl(program, program, seed, (char *)NULL);
        _exit(127);
    }
    close(to_workers[0]);
    close(from_workers[1]);
    work_end = to_workers[1];
    results = from_workers[0];
}

static void require_workers_alive(void)
{
    for (int i = 0; i < N_WORKERS; i++) {
        int status;
        if (waitpid(workers[i], &status, WNOHANG) != 0) {
            fprintf(stderr, "worker %d has ended, status %#x\n", i, status);
            harness_fail(__FILE__, __LINE__, "workers that live");
        }
    }
}

static uint64_t n_back(void)
{
    stats_get(&daemon_, &stats);
    require_workers_alive();
    return stats.clients - stats.detached_clients;
}

/* What the workers were blocked by: malloc and free, or, beside them, a poll of 2 ms in vain. */
struct blocked {
    unsigned long long max_ns;
    unsigned long long n_steps;
    unsigned long long n_waited;
    unsigned long long n_over;
    unsigned long long n_once;
};

static void add(struct blocked *sum, const struct blocked *one)
{
    if (one->max_ns > sum->max_ns)
        sum->max_ns = one->max_ns;
    sum->n_steps += one->n_steps;
    sum->n_waited += one->n_waited;
    sum->n_over += one->n_over;
    sum->n_once += one->n_once;
}

static void print(const char *what, const struct blocked *blocked)
{
    printf("%s: %llu, of these %llu blocked for 2 ms, %llu for half as long again (%.1f %%), %llu "
           "of them in one wait, the longest for %.1f ms\n",
           what, blocked->n_steps, blocked->n_waited, blocked->n_over,
           blocked->n_waited ? 100.0 * (double)blocked->n_over / (double)blocked->n_waited : 0,
           blocked->n_once, (double)blocked->max_ns / 1e6);
}

/* Their end: all well, and how long the longest step of any of them was blocked. */
static void end_workers(void)
{
    static char text[N_WORKERS * 256];
    size_t n = 0;
    struct blocked steps = {0}, controls = {0};
    close(work_end);
    for (int i = 0; i < N_WORKERS; i++)
        harness_join(workers[i]);
    for (ssize_t r; (r = read(results, text + n, sizeof(text) - 1 - n)) > 0;)
        n += (size_t)r;
    close(results);
    text[n] = 0;
    unsigned n_lines = 0;
    for (const char *at = text; (at = strstr(at, "max_ns ")); at++) {
        struct blocked one, control;
        require_equal(sscanf(at,
                             "max_ns %llu steps %llu waited %llu over %llu once %llu "
                             "control_ns %llu steps %llu waited %llu over %llu once %llu",
                             &one.max_ns, &one.n_steps, &one.n_waited, &one.n_over, &one.n_once,
                             &control.max_ns, &control.n_steps, &control.n_waited, &control.n_over,
                             &control.n_once),
                      10);
        add(&steps, &one);
        add(&controls, &control);
        n_lines++;
    }
    require_equal(n_lines, N_WORKERS);
    print("malloc and free", &steps);
    print("control, polls in vain", &controls);
    require(steps.max_ns < STALL_NS);
}

static void kill_in_a_loop(size_t limit)
{
    uint64_t n_reattached = 0, n_adopted = 0;
    if (!can_preload())
        skip();
    daemon_init(&daemon_);
    daemon_configure(&daemon_, "pool.min=32M", "pool.max=256M", "reclaim.idle_ms=20",
                     "restart.store_after_ms=20", "log.level=warning", NULL);
    manager_init(&manager, &daemon_, limit, true);
    manager_start(&manager);
    start_workers();
    for (int round = 0; round < N_ROUNDS; round++) {
        manager_until(&manager, n_back() == N_WORKERS);
        if (limit > 0) /* the ledgers, that is, and what is leased for some time */
            manager_until(&manager, manager.n_stored > 2 * N_WORKERS);
        manager_restart(&manager, SIGKILL);
        manager_until(&manager, n_back() == N_WORKERS);
        n_reattached += stats.reattached_total;
        n_adopted += stats.adopted_bytes;
    }
    printf("%d times SIGKILL: %llu of %d came back to their ledgers, %llu MiB went on\n", N_ROUNDS,
           (unsigned long long)n_reattached, N_ROUNDS * N_WORKERS,
           (unsigned long long)(n_adopted / MIB));
    if (limit > 0)
        require(n_reattached >= N_ROUNDS * N_WORKERS * 9 / 10 && n_adopted > 0);
    else
        require(n_reattached == 0 && n_adopted == 0);
    end_workers();
    manager_until(&manager, (stats_get(&daemon_, &stats), stats_are_quiet(&stats)));
    manager_deinit(&manager);
    daemon_deinit(&daemon_);
}

static void test_with_a_store(void **state)
{
    (void)state;
    kill_in_a_loop(4000);
}

static void test_without_a_store(void **state)
{
    (void)state;
    kill_in_a_loop(0);
}

/*
 * A connection that the library has lost and the daemon has not, with a ledger that could be gone
 * on with after a restart: there was none, so the library is given another ledger, and must have
 * kept to the words of the first until then. (lib-lost-link.sh is the same without a store.)
 */
static void test_lost_link(void **state)
{
    (void)state;
    char program[512];
    if (!can_preload())
        skip();
    daemon_init(&daemon_);
    daemon_configure(&daemon_, "pool.min=32M", "pool.max=256M", "reclaim.idle_ms=1",
                     "restart.store_after_ms=0", NULL);
    manager_init(&manager, &daemon_, 4000, true);
    manager_start(&manager);
    snprintf(program, sizeof(program), "%s", harness_artifact("tests/system/prog-lost-link"));
    pid_t child = harness_fork();
    if (child == 0) {
        preload();
        execl(program, program, "3", (char *)NULL);
        _exit(127);
    }
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    struct pollfd gone = {.fd = pidfd, .events = POLLIN};
    uint64_t n_connections = 0;
    while (poll(&gone, 1, 0) == 0) {
        manager_turn(&manager, 20);
        stats_get(&daemon_, &stats);
        n_connections = stats.connections_total;
    }
    close(pidfd);
    harness_join(child);
    require(n_connections >= 3); /* two of its own, and ours */
    require_equal(stats.reattached_total, 0);
    manager_until(&manager, (stats_get(&daemon_, &stats), stats_are_quiet(&stats)));
    manager_deinit(&manager);
    daemon_deinit(&daemon_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_link),
        cmocka_unit_test(test_with_a_store),
        cmocka_unit_test(test_without_a_store),
    };
    return cmocka_run_group_tests_name("restart-load", tests, NULL, NULL);
}
