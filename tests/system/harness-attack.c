/* See harness-attack.h. */
#include "harness-attack.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/atomic.h"

#define NONE          HAKMEM__ERROR_CODE__ERROR_NONE
#define USER_HOSTILE  61021
#define N_SAMPLES_MAX 65536
#define QUIET_MS      700
/* What the daemon's own memory may differ by from test to test: pages its allocator keeps. */
#define RSS_SLACK_KB 4096

/* The well-behaved client's figures, shared with it. */
struct witness {
    uint32_t stop;
    uint32_t n_samples;
    uint32_t latency_us[N_SAMPLES_MAX];
};

struct daemon attack_daemon;
static struct witness *quiet, *attacked;
static int base_fds;
static uint64_t base_rss_kb;
static pid_t witness_pid;

/* ---- the witness ---- */

/* A few leases at a time, checked, filled and given back, with pauses, until told to stop. */
static void be_witness(struct witness *witness)
{
    struct client client;
    struct lease leases[CONN_MAX_FDS];
    size_t n;
    client_connect(&client, &attack_daemon);
    require_equal(client_hello(&client, 0, leases, &n), NONE);
    /* Relaxed: a flag; the parent waits for our end before it reads the figures. */
    while (!atomic_load_relaxed(&witness->stop)) {
        uint64_t started = harness_now_ns();
        require_equal(client_lease(&client, 1, 1, leases, &n), NONE);
        uint64_t elapsed = harness_now_ns() - started;
        require_equal(n, 1);
        uint32_t i = witness->n_samples;
        if (i < N_SAMPLES_MAX) {
            witness->latency_us[i] = (uint32_t)(elapsed / 1000);
            atomic_store_relaxed(&witness->n_samples, i + 1);
        }
        lease_map(&client, &leases[0]);
        require(lease_is(&leases[0], 0));
        lease_fill(&leases[0], 0x3c);
        harness_pause();
        require(lease_is(&leases[0], 0x3c));
        lease_give_back(&client, &leases[0]);
    }
    client_close(&client);
    _exit(0);
}

static void witness_start(struct witness *witness)
{
    witness->stop = 0;
    witness_pid = harness_fork();
    if (witness_pid == 0)
        be_witness(witness);
}

static void witness_stop(struct witness *witness)
{
    /* On a busy machine an attack may be over before the witness has had a turn. */
    uint64_t deadline = harness_deadline();
    while (atomic_load_relaxed(&witness->n_samples) == 0 && !harness_is_late(deadline))
        harness_pause();
    atomic_store_relaxed(&witness->stop, 1);
    pid_t child = witness_pid;
    witness_pid = 0;
    harness_join(child);
    require(witness->n_samples > 0);
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void witness_print(const char *when, struct witness *witness)
{
    uint32_t n = witness->n_samples;
    if (n == 0)
        return;
    qsort(witness->latency_us, n, sizeof(witness->latency_us[0]), compare_samples);
    printf("lease round trip, %s: p50 %u us, p99 %u us, worst %u us (%u leases)\n", when,
           witness->latency_us[n / 2], witness->latency_us[(uint64_t)n * 99 / 100],
           witness->latency_us[n - 1], n);
}

/* ---- before and after each attack ---- */

/* Waits for quiet, and lets the stock go down to its minimum. Leaves a connection open: count it.
 */
static void settle(struct client *control)
{
    Hakmem__StatsReply stats;
    uint64_t released = 0;
    stats_until(&attack_daemon, &stats, stats_are_quiet(&stats));
    client_connect(control, &attack_daemon);
    require_equal(client_trim(control, &released), NONE);
}

/* The daemon's descriptors but for those of its stock, which follows demand. */
static int count_fds(struct client *control)
{
    uint64_t n_stock = client_count_stock_fds(control);
    return daemon_n_fds(&attack_daemon) - (int)n_stock;
}

/* Extents on their way into the stock or out of it are counted until they are there: the same
 * figure many times over. */
static int count_fds_at_rest(struct client *control)
{
    uint64_t deadline = harness_deadline();
    int n_fds = count_fds(control);
    for (int n_same = 0; n_same < 40; n_same++) {
        int n_now = count_fds(control);
        if (n_now != n_fds)
            n_same = 0;
        n_fds = n_now;
        require(!harness_is_late(deadline));
        harness_pause();
    }
    return n_fds;
}

int attack_group_setup(void **state)
{
    (void)state;
    size_t n_bytes = sizeof(struct witness);
    struct client control;
    quiet = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    attacked = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    daemon_init(&attack_daemon);
    daemon_configure(&attack_daemon, "pool.min=64M", "pool.max=128M", "reclaim.idle_ms=1",
                     "socket.mode=0666", "peer.unread_timeout_ms=300", "quota.clients_per_user=100",
                     "quota.bytes_per_user=512M", NULL);
    daemon_start(&attack_daemon);
    /* Once through, so that what is allocated once is part of the base. */
    witness_start(quiet);
    uint64_t until = harness_now_ns() + QUIET_MS * 1000000ull;
    while (!harness_is_late(until))
        harness_pause();
    witness_stop(quiet);
    settle(&control);
    uint64_t deadline = harness_deadline();
    while (daemon_n_pidfds(&attack_daemon) < 2) { /* of this connection and of the harness's own */
        require(!harness_is_late(deadline));
        harness_pause();
    }
    base_fds = count_fds_at_rest(&control);
    client_close(&control);
    base_rss_kb = daemon_status_kb(&attack_daemon, "RssAnon");
    return 0;
}

int attack_group_teardown(void **state)
{
    (void)state;
    witness_print("quiet", quiet);
    witness_print("under attack", attacked);
    daemon_deinit(&attack_daemon);
    return 0;
}

int attack_setup(void **state)
{
    (void)state;
    witness_start(attacked);
    return 0;
}

int attack_teardown(void **state)
{
    (void)state;
    if (witness_pid > 0)
        kill(witness_pid, SIGKILL), (void)harness_wait(witness_pid);
    return 0;
}

void attack_require_unharmed(void)
{
    struct client control;
    daemon_require_alive(&attack_daemon);
    witness_stop(attacked);
    settle(&control);
    uint64_t deadline = harness_deadline();
    int n_fds;
    while ((n_fds = count_fds(&control)) > base_fds && !harness_is_late(deadline))
        harness_pause();
    if (n_fds > base_fds)
        fprintf(stderr, "%d descriptors, at first %d\n", n_fds, base_fds);
    require(n_fds <= base_fds);
    client_close(&control);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    /* (A sanitizer keeps what is freed for a while.) */
    uint64_t rss_kb = daemon_status_kb(&attack_daemon, "RssAnon");
    if (rss_kb > base_rss_kb + RSS_SLACK_KB)
        fprintf(stderr, "RssAnon %llu kB, at first %llu kB\n", (unsigned long long)rss_kb,
                (unsigned long long)base_rss_kb);
    require(rss_kb <= base_rss_kb + RSS_SLACK_KB);
#endif
}

pid_t attack_fork(void)
{
    pid_t child = harness_fork();
    if (child == 0 && geteuid() == 0)
        harness_become(USER_HOSTILE);
    return child;
}

void attack_hello(struct client *client)
{
    struct lease none[CONN_MAX_FDS];
    size_t n;
    client_connect(client, &attack_daemon);
    require_equal(client_hello(client, 0, none, &n), NONE);
}

uint64_t attack_protocol_errors(void)
{
    Hakmem__StatsReply stats;
    stats_get(&attack_daemon, &stats);
    return stats.protocol_errors_total;
}

uint32_t attack_witnessed(void)
{
    /* Relaxed: a count to watch. */
    return atomic_load_relaxed(&attacked->n_samples);
}

void attack_wait_witnessed(uint32_t n)
{
    uint64_t deadline = harness_deadline();
    uint32_t n_before = attack_witnessed();
    while (attack_witnessed() < n_before + n) {
        require(!harness_is_late(deadline));
        harness_pause();
    }
}

void attack_kill(pid_t child)
{
    kill(child, SIGKILL);
    require_equal(harness_wait(child), SIGKILL);
}
