/*
 * See doctor.h: the daemon, from outside: is it reached, does it lease, what are its pages, what
 * has it counted. The one part of hakmemctl that takes a lease: a single SuperSlab, given back by
 * closing the connection.
 */
#include "hakmemctl/doctor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/ledger.h"
#include "common/superslab.h"
#include "hakmemctl/ask.h"
#include "hakmemctl/clients-table.h"
#include "hakmemctl/output.h"

/* Descriptors: each stocked or leased extent costs the daemon one. */
#define FD_LIMIT_WANTED 65536

static void add_lost(struct doctor_report *report, const char *subject, int error)
{
    doctor_add(report, DOCTOR_PROBLEM, subject, "journalctl -u hakmemd -n 50",
               "no usable answer from hakmemd: %s", strerror(-error));
}

static bool check_connection(struct doctor_report *report, const struct invocation *invocation,
                             struct session **session_out)
{
    char reason[256];
    int r = session_open(invocation->socket_path, session_out);
    if (r == 0) {
        doctor_add(report, DOCTOR_OK, "socket", NULL, "%.200s", invocation->socket_path);
        return true;
    }
    int code = ask_open_failure(r, invocation->socket_path, reason, sizeof(reason));
    doctor_add(report, DOCTOR_PROBLEM, "socket",
               code == CTL_NOT_RUNNING ? "systemctl enable --now hakmemd.socket hakmemd.service"
               : code == CTL_DENIED    ? "set socket.mode = 0666 in /etc/hakmem/hakmemd.conf"
                                       : "journalctl -u hakmemd -n 50",
               "%s", reason);
    return false;
}

static bool check_ping(struct doctor_report *report, struct session *session, uint32_t *pid_out)
{
    Hakmem__Ping ping = HAKMEM__PING__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_PING;
    request.ping = &ping;
    Hakmem__Reply *reply;
    int r = session_ask(session, &request, &reply);
    if (r == 0 && reply->body_case != HAKMEM__REPLY__BODY_PING)
        r = -EPROTO;
    if (r < 0) {
        add_lost(report, "daemon", r);
        return false;
    }
    char version[64], up[OUTPUT_CELL_BYTES];
    output_clean(reply->ping->version, version, sizeof(version));
    output_duration(reply->ping->uptime_ms / 1000, up);
    bool same = strcmp(version, HAKMEM_VERSION) == 0;
    doctor_add(report, same ? DOCTOR_OK : DOCTOR_WARNING, "daemon",
               same ? NULL : "systemctl restart hakmemd",
               "version %s%s%s%s, pid %" PRIu32 ", up %s", version,
               same ? "" : " (this is hakmemctl ", same ? "" : HAKMEM_VERSION, same ? "" : ")",
               reply->ping->pid, up);
    *pid_out = reply->ping->pid;
    return true;
}

/* Maps what was leased and writes to it, as the library would. 0 or a negative errno. */
static int use_extent(int fd, uint32_t n_slabs)
{
    size_t n_bytes = n_slabs * SUPERSLAB_BYTES;
    unsigned char *memory = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    bool zero = true;
    for (size_t i = 0; i < n_bytes; i += 4096)
        zero = zero && memory[i] == 0;
    memory[0] = 1;
    munmap(memory, n_bytes);
    return zero ? 0 : -EILSEQ;
}

static void check_extent(struct doctor_report *report, struct session *session,
                         const Hakmem__LeaseReply *lease, uint32_t version)
{
    int fds[CONN_MAX_FDS];
    size_t n_fds;
    session_take_fds(session, fds, &n_fds);
    int r = -EPROTO;
    if (lease->n_extents == 1 && n_fds == 1 && extent_slabs_is_valid(lease->extents[0]->n_slabs))
        r = use_extent(fds[0], lease->extents[0]->n_slabs);
    if (r < 0)
        doctor_add(report, DOCTOR_PROBLEM, "lease", "journalctl -u hakmemd -n 50",
                   "what was leased cannot be used: %s", strerror(-r));
    else
        doctor_add(report, DOCTOR_OK, "lease", NULL,
                   "protocol %" PRIu32 ", one extent leased, mapped and zero; %" PRIu32
                   " of %" PRIu32 " SuperSlabs on 2 MiB pages",
                   version, lease->extents[0]->huge_slabs, lease->extents[0]->n_slabs);
    conn_close_fds(fds, n_fds);
}

/* 0 if the reply is of the kind wanted; else the finding has been added. */
static int check_reply(struct doctor_report *report, int error, const Hakmem__Reply *reply,
                       Hakmem__Reply__BodyCase wanted)
{
    if (error == 0 && reply->body_case == wanted)
        return 0;
    if (error == 0 && reply->body_case == HAKMEM__REPLY__BODY_ERROR) {
        char message[200], limit[64];
        const Hakmem__Error *refusal = reply->error;
        output_clean(refusal->message, message, sizeof(message));
        output_clean(refusal->limit, limit, sizeof(limit));
        doctor_add(report, DOCTOR_PROBLEM, "lease",
                   refusal->code == HAKMEM__ERROR_CODE__ERROR_VERSION
                       ? "install the same release of the library and the daemon, then "
                         "systemctl restart hakmemd"
                   : refusal->code == HAKMEM__ERROR_CODE__ERROR_QUOTA
                       ? "hakmemctl quota bytes_per_user SIZE, or hakmemd.conf for good"
                   : refusal->code == HAKMEM__ERROR_CODE__ERROR_BUSY
                       ? "hakmemctl drain --resume, if it is draining"
                       : "free -h; hakmemctl top: who holds the most?",
                   "hakmemd leases nothing: %s%s%s", message, limit[0] ? ": " : "", limit);
        return -ECANCELED;
    }
    add_lost(report, "lease", error < 0 ? error : -EPROTO);
    return -EPROTO;
}

/* A lease as a program takes it, from Hello to first touch. */
static void check_lease(struct doctor_report *report, const struct invocation *invocation)
{
    struct session *session;
    Hakmem__Hello hello = HAKMEM__HELLO__INIT;
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Reply *reply = NULL;
    int r = session_open(invocation->socket_path, &session);
    if (r < 0) {
        add_lost(report, "lease", r);
        return;
    }
    hello.version_min = WIRE_VERSION_MIN;
    hello.version_max = WIRE_VERSION_MAX;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &hello;
    r = session_ask(session, &request, &reply);
    if (check_reply(report, r, reply, HAKMEM__REPLY__BODY_HELLO) < 0)
        goto out;
    uint32_t version = reply->hello->version;

    /* Not with the Hello, which brings what there is and does not say why there is nothing. */
    lease.n_slabs = 1;
    lease.run_slabs = 1;
    request.body_case = HAKMEM__REQUEST__BODY_LEASE;
    request.lease = &lease;
    r = session_ask(session, &request, &reply);
    if (check_reply(report, r, reply, HAKMEM__REPLY__BODY_LEASE) == 0)
        check_extent(report, session, reply->lease, version);
out:
    session_close(session);
}

static void check_backing(struct doctor_report *report, const Hakmem__PoolReply *pool)
{
    static const char subject[] = "backing";
    char wanted[32], achieved[32], share[OUTPUT_CELL_BYTES];
    output_clean(pool->backing_wanted, wanted, sizeof(wanted));
    output_clean(pool->backing_achieved, achieved, sizeof(achieved));
    output_share(pool->stock_huge_bytes, pool->stock_bytes, share);
    bool small = strcmp(achieved, "4k") == 0 && strcmp(wanted, "4k") != 0;
    bool partly = pool->stock_bytes > 0 && strcmp(wanted, "4k") != 0 &&
                  pool->stock_huge_bytes < pool->stock_bytes / 10 * 9;
    if (small)
        doctor_add(report, DOCTOR_PROBLEM, subject,
                   "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled; if it is: "
                   "echo 1 > /proc/sys/vm/compact_memory",
                   "wanted %s, achieved 4 KiB pages: memory is some 15 times slower to touch",
                   wanted);
    else if (partly)
        doctor_add(report, DOCTOR_WARNING, subject, "echo 1 > /proc/sys/vm/compact_memory",
                   "wanted %s, achieved %s, but only %s of the stock is on 2 MiB pages: memory is "
                   "fragmented",
                   wanted, achieved, share);
    else
        doctor_add(report, DOCTOR_OK, subject, NULL, "wanted %s, achieved %s, %s on 2 MiB pages",
                   wanted, achieved, share);
}

static void check_limits(struct doctor_report *report, const Hakmem__PoolReply *pool)
{
    bool scarce = pool->fd_limit > 0 && pool->fd_used > pool->fd_limit / 5 * 4;
    bool low = pool->fd_limit < FD_LIMIT_WANTED;
    doctor_add(report,
               scarce ? DOCTOR_PROBLEM
               : low  ? DOCTOR_WARNING
                      : DOCTOR_OK,
               "descriptors",
               scarce || low ? "LimitNOFILE=524288 in hakmemd.service (systemctl edit hakmemd), or "
                               "ulimit -n before a daemon started by hand"
                             : NULL,
               "%" PRIu64 " of %" PRIu64 " used; each extent needs one", pool->fd_used,
               pool->fd_limit);

    char source[32], psi[512];
    snprintf(psi, sizeof(psi), "%.256s/pressure/memory", doctor_root(pool->host_proc, "/proc"));
    output_clean(pool->pressure_source, source, sizeof(source));
    if (strcmp(source, "psi") == 0)
        doctor_add(report, DOCTOR_OK, "pressure", NULL, "noticed by PSI");
    else if (strcmp(source, "none") == 0 || source[0] == '\0')
        doctor_add(report, DOCTOR_PROBLEM, "pressure",
                   "boot with psi=1, and let hakmemd read /proc",
                   "the daemon cannot notice memory pressure");
    else
        doctor_add(report, DOCTOR_WARNING, "pressure",
                   access(psi, F_OK) == 0
                       ? "Linux 6.4 or later, or AmbientCapabilities=CAP_SYS_RESOURCE and "
                         "CapabilityBoundingSet=CAP_SYS_RESOURCE in hakmemd.service"
                       : "boot with psi=1",
                   "noticed by %s only, late and coarsely", source);
}

static bool check_pool(struct doctor_report *report, struct session *session, uint32_t daemon_pid)
{
    Hakmem__PoolQuery query = HAKMEM__POOL_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_POOL;
    request.pool = &query;
    Hakmem__Reply *reply;
    int r = session_ask(session, &request, &reply);
    if (r == 0 && reply->body_case != HAKMEM__REPLY__BODY_POOL)
        r = -EPROTO;
    if (r < 0) {
        add_lost(report, "stock", r);
        return false;
    }
    const Hakmem__PoolReply *pool = reply->pool;
    char stock[OUTPUT_CELL_BYTES], target[OUTPUT_CELL_BYTES];
    bool empty = pool->stock_bytes == 0 && pool->target_bytes > 0;
    doctor_add(report, empty ? DOCTOR_WARNING : DOCTOR_OK, "stock",
               empty ? "hakmemctl pool, again in a moment; journalctl -u hakmemd if it stays empty"
                     : NULL,
               "%s ready, target %s", output_size(pool->stock_bytes, stock),
               output_size(pool->target_bytes, target));
    check_backing(report, pool);
    check_limits(report, pool);
    doctor_check_cgroup(report, daemon_pid, pool);
    return true;
}

static void check_denials(struct doctor_report *report, const Hakmem__StatsReply *stats)
{
    static const char subject[] = "denials";
    if (stats->denied_total == 0)
        doctor_add(report, DOCTOR_OK, subject, NULL, "none in %" PRIu64 " leases",
                   stats->leases_total);
    if (stats->denied_quota_total > 0)
        doctor_add(report, DOCTOR_WARNING, subject, "hakmemctl quota bytes_per_user SIZE",
                   "%" PRIu64 " requests refused by a quota", stats->denied_quota_total);
    if (stats->denied_memory_total > 0)
        doctor_add(
            report, DOCTOR_WARNING, subject,
            "more memory for the host or hakmemd's cgroup (MemoryMax=), or a smaller pool.min",
            "%" PRIu64 " requests refused for want of memory", stats->denied_memory_total);
    if (stats->denied_busy_total > 0)
        doctor_add(report, DOCTOR_WARNING, subject,
                   "nothing, if it was drained; else look for a client that does not read",
                   "%" PRIu64 " requests refused as busy", stats->denied_busy_total);
}

static bool check_stats(struct doctor_report *report, struct session *session)
{
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    Hakmem__Reply *reply;
    int r = session_ask(session, &request, &reply);
    if (r == 0 && reply->body_case != HAKMEM__REPLY__BODY_STATS)
        r = -EPROTO;
    if (r < 0) {
        add_lost(report, "counters", r);
        return false;
    }
    const Hakmem__StatsReply *stats = reply->stats;
    char size[OUTPUT_CELL_BYTES];
    check_denials(report, stats);
    if (stats->orphan_bytes > 0)
        doctor_add(report, DOCTOR_WARNING, "orphans",
                   "end what still holds it: a child of the program, or I/O under way",
                   "%s of programs that are gone is still held by something",
                   output_size(stats->orphan_bytes, size));
    if (stats->prewarm_errors_total > 0)
        doctor_add(report, DOCTOR_WARNING, "prewarming", "journalctl -u hakmemd -n 50",
                   "failed %" PRIu64 " times", stats->prewarm_errors_total);
    if (stats->accept_errors_total > 0)
        doctor_add(report, DOCTOR_WARNING, "accepting", "LimitNOFILE=524288 in hakmemd.service",
                   "%" PRIu64 " connections could not be accepted", stats->accept_errors_total);
    if (stats->protocol_errors_total > 0)
        doctor_add(report, DOCTOR_WARNING, "protocol", "journalctl -u hakmemd names the processes",
                   "%" PRIu64 " malformed packets", stats->protocol_errors_total);
    if (stats->pressure_level != LEDGER_PRESSURE_NONE)
        doctor_add(report, DOCTOR_WARNING, "pressure", "hakmemctl top: who holds the most?",
                   "the host is short of memory now");
    return true;
}

/* Programs that wanted a lease and took private memory instead. */
static void check_clients(struct doctor_report *report, struct session *session)
{
    static const char subject[] = "clients";
    Hakmem__ClientsReply *clients;
    int r = clients_fetch(session, &clients);
    if (r < 0) {
        add_lost(report, subject, r);
        return;
    }
    size_t n_fallen = 0;
    for (size_t i = 0; i < clients->n_clients; i++) {
        const Hakmem__Client *client = clients->clients[i];
        if (client->fallbacks == 0 && client->denied == 0)
            continue;
        n_fallen++;
        if (n_fallen > 8)
            continue;
        char program[32], size[OUTPUT_CELL_BYTES];
        output_clean(client->program, program, sizeof(program));
        doctor_add(report, DOCTOR_WARNING, subject,
                   client->denied > 0 ? "hakmemctl quota bytes_per_client SIZE, or see denials"
                                      : "a larger pool.min: the stock was empty when it asked",
                   "%s[%" PRIu32 "]: %" PRIu64 " denied, %" PRIu64
                   " fallbacks, %s of private memory",
                   program, client->pid, client->denied, client->fallbacks,
                   output_size(client->private_bytes, size));
    }
    if (n_fallen == 0)
        doctor_add(report, DOCTOR_OK, subject, NULL, "%" PRIu32 " connected, none fell back",
                   clients->total);
    else if (n_fallen > 8)
        doctor_add(report, DOCTOR_WARNING, subject, "hakmemctl clients", "and %zu more",
                   n_fallen - 8);
}

void doctor_check_daemon(struct doctor_report *report, const struct invocation *invocation)
{
    struct session *session = NULL;
    if (!check_connection(report, invocation, &session))
        return;
    /* Each needs a working connection; the lease uses one of its own, because Hello makes a client.
     */
    uint32_t pid;
    if (check_ping(report, session, &pid) && check_pool(report, session, pid) &&
        check_stats(report, session))
        check_clients(report, session);
    session_close(session);
    check_lease(report, invocation);
}
