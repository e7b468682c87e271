/* See daemon_load.h. */
#include "bench/daemon_load.h"

#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/common.h"
#include "bench/daemon_client.h"

#define N_EXTENTS 8u
#define RUN_SLABS 8u
#define PAUSE_NS  1000000

static struct daemon_client client;

static void pause_a_moment(void)
{
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

/* One byte of each SuperSlab, so that there is something to clear. */
static void touch(const struct daemon_extent *extent)
{
    for (uint32_t i = 0; i < extent->n_slabs; i++)
        ((volatile char *)extent->memory)[i * SUPERSLAB_BYTES] = 1;
}

/*
 * Half of what it leases goes back at once (scrubbed), the other half is left IDLE first and
 * trimmed (punched); trimming drops the stock above its minimum and asking for it again makes it
 * anew (prewarmed).
 */
static _Noreturn void work(void)
{
    for (unsigned round = 0;; round++) {
        struct daemon_extent extents[N_EXTENTS + CONN_MAX_FDS];
        size_t n = 0;
        while (n < N_EXTENTS) {
            size_t n_granted = daemon_lease(&client, RUN_SLABS, RUN_SLABS, &extents[n]);
            if (n_granted == 0)
                break;
            n += n_granted;
        }
        for (size_t i = 0; i < n; i++) {
            daemon_map(&client, &extents[i]);
            touch(&extents[i]);
            if (i % 2)
                daemon_set_idle(&client, &extents[i]);
        }
        daemon_trim(&client);
        daemon_prewarm(&client, UINT64_C(256) << 20);
        pause_a_moment();
        daemon_return(&client, extents, n);
        pause_a_moment();
    }
}

pid_t daemon_load_start(const char *socket_path)
{
    pid_t parent = getpid();
    pid_t load = fork();
    if (load < 0)
        bench_die("fork");
    if (load > 0)
        return load;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    daemon_connect(&client, socket_path);
    daemon_hello(&client, true);
    work();
}

void daemon_load_stop(pid_t load)
{
    kill(load, SIGKILL);
    waitpid(load, NULL, 0);
}
