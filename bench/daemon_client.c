/* See daemon_client.h. */
#include "bench/daemon_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/common.h"

#define ANSWER_TIMEOUT_MS 10000
#define RETURN_MAX        64u /* extents in one Return */

static void fail(const char *what, int error)
{
    errno = error < 0 ? -error : error;
    bench_die(what);
}

void daemon_connect(struct daemon_client *client, const char *path)
{
    memset(client, 0, offsetof(struct daemon_client, packet));
    client->arena =
        (struct wire_arena){.bytes = client->arena_bytes, .capacity = sizeof(client->arena_bytes)};
    int r = conn_connect(path, &client->socket);
    /* The listener's queue is full for a moment when many connect at once. */
    for (unsigned tries = 0; r == -EAGAIN && tries < 1000; tries++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        r = conn_connect(path, &client->socket);
    }
    if (r < 0)
        fail(path, r);
}

static void wait_for(int socket, short events)
{
    struct pollfd ready = {.fd = socket, .events = events};
    int n = poll(&ready, 1, ANSWER_TIMEOUT_MS);
    if (n < 0 && errno != EINTR)
        bench_die("poll");
    if (n == 0)
        fail("the daemon does not answer", ETIMEDOUT);
}

Hakmem__Reply *daemon_ask(struct daemon_client *client, Hakmem__Request *request, int *fds,
                          size_t *n_fds)
{
    unsigned char out[CONN_REQUEST_MAX_BYTES];
    int own_fds[CONN_MAX_FDS];
    size_t n_bytes, n_own_fds;
    request->id = ++client->next_id;
    int r = wire_pack_request(request, out, sizeof(out), &n_bytes);
    if (r < 0)
        fail("pack", r);
    while ((r = conn_send(client->socket, out, n_bytes, NULL, 0)) == -EAGAIN)
        wait_for(client->socket, POLLOUT);
    if (r < 0)
        fail("send", r);
    if (!fds) {
        fds = own_fds;
        n_fds = &n_own_fds;
    }
    while ((r = conn_recv(client->socket, client->packet, sizeof(client->packet), &n_bytes, fds,
                          n_fds)) == -EAGAIN)
        wait_for(client->socket, POLLIN);
    if (r)
        fail("receive", r == CONN_CLOSED ? EPIPE : r);
    Hakmem__Reply *reply;
    r = wire_unpack_reply(&client->arena, client->packet, n_bytes, &reply);
    if (r < 0 || reply->id != client->next_id)
        fail("reply", EBADMSG);
    if (fds == own_fds)
        conn_close_fds(own_fds, n_own_fds);
    return reply;
}

/* The reply's body must be the one that was asked for. */
static void expect(const Hakmem__Reply *reply, Hakmem__Reply__BodyCase body)
{
    if (reply->body_case == body)
        return;
    if (reply->body_case == HAKMEM__REPLY__BODY_ERROR)
        fprintf(stderr, "the daemon refused: %s (%s)\n", reply->error->message,
                reply->error->limit);
    fail("reply", EPROTO);
}

/* The extents that a reply lists, and their descriptors. */
static void take_extents(Hakmem__Extent *const *listed, const int *fds, size_t n,
                         struct daemon_extent *extents)
{
    for (size_t i = 0; i < n; i++)
        extents[i] = (struct daemon_extent){.id = listed[i]->id,
                                            .n_slabs = listed[i]->n_slabs,
                                            .first_slot = listed[i]->first_slot,
                                            .huge_slabs = listed[i]->huge_slabs,
                                            .fd = fds[i]};
}

size_t daemon_hello_lease(struct daemon_client *client, uint32_t want_slabs, bool map_ledger,
                          struct daemon_extent *extents)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Hello hello = HAKMEM__HELLO__INIT;
    int fds[CONN_MAX_FDS];
    size_t n_fds;
    hello.version_min = WIRE_VERSION_MIN;
    hello.version_max = WIRE_VERSION_MAX;
    hello.want_slabs = want_slabs;
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &hello;
    Hakmem__Reply *reply = daemon_ask(client, &request, fds, &n_fds);
    expect(reply, HAKMEM__REPLY__BODY_HELLO);
    if (n_fds != 1 + reply->hello->n_extents)
        fail("descriptors do not match a ledger and the extents", EPROTO);
    client->n_slots = reply->hello->ledger_slots;
    if (map_ledger) {
        void *ledger = mmap(NULL, ledger_bytes(client->n_slots), PROT_READ | PROT_WRITE, MAP_SHARED,
                            fds[0], 0);
        if (ledger == MAP_FAILED)
            bench_die("mmap of the ledger");
        client->ledger = ledger;
    }
    conn_close_fds(fds, 1);
    take_extents(reply->hello->extents, fds + 1, n_fds - 1, extents);
    return n_fds - 1;
}

void daemon_hello(struct daemon_client *client, bool map_ledger)
{
    daemon_hello_lease(client, 0, map_ledger, NULL);
}

void daemon_disconnect(struct daemon_client *client)
{
    if (client->ledger)
        munmap(client->ledger, ledger_bytes(client->n_slots));
    client->ledger = NULL;
    close(client->socket);
    client->socket = -1;
}

size_t daemon_lease(struct daemon_client *client, uint32_t n_slabs, uint32_t run_slabs,
                    struct daemon_extent *extents)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    int fds[CONN_MAX_FDS];
    size_t n_fds;
    lease.n_slabs = n_slabs;
    lease.run_slabs = run_slabs;
    request.body_case = HAKMEM__REQUEST__BODY_LEASE;
    request.lease = &lease;
    Hakmem__Reply *reply = daemon_ask(client, &request, fds, &n_fds);
    if (reply->body_case == HAKMEM__REPLY__BODY_ERROR)
        return 0;
    expect(reply, HAKMEM__REPLY__BODY_LEASE);
    if (reply->lease->n_extents != n_fds)
        fail("descriptors do not match extents", EPROTO);
    take_extents(reply->lease->extents, fds, n_fds, extents);
    return n_fds;
}

static void set_states(struct daemon_client *client, const struct daemon_extent *extent,
                       enum slab_state to)
{
    for (uint32_t i = 0; client->ledger && i < extent->n_slabs; i++) {
        uint32_t *slot = &client->ledger->slots[extent->first_slot + i];
        uint32_t seen = ledger_slot_read(slot);
        while (ledger_word_state(seen) == SLAB_RECLAIMING)
            seen = ledger_slot_read(slot);
        if (!ledger_slab_change(slot, seen, LEDGER_CLIENT, to))
            fail("a SuperSlab's state", EPROTO);
    }
}

void daemon_map(struct daemon_client *client, struct daemon_extent *extent)
{
    size_t n_bytes = extent->n_slabs * SUPERSLAB_BYTES;
    /* 2 MiB-aligned, or the kernel cannot map the page as one. */
    char *room =
        mmap(NULL, n_bytes + SUPERSLAB_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        bench_die("mmap");
    char *at = (char *)(((uintptr_t)room + SUPERSLAB_BYTES - 1) & ~(SUPERSLAB_BYTES - 1));
    if (at > room)
        munmap(room, (size_t)(at - room));
    if (at < room + SUPERSLAB_BYTES)
        munmap(at + n_bytes, (size_t)(room + SUPERSLAB_BYTES - at));
    extent->memory =
        mmap(at, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, extent->fd, 0);
    if (extent->memory == MAP_FAILED)
        bench_die("mmap of an extent");
    set_states(client, extent, SLAB_ACTIVE);
}

void daemon_set_idle(struct daemon_client *client, const struct daemon_extent *extent)
{
    set_states(client, extent, SLAB_IDLE);
}

static bool is_idle(struct daemon_client *client, const struct daemon_extent *extent)
{
    return client->ledger &&
           ledger_word_state(ledger_slot_read(&client->ledger->slots[extent->first_slot])) !=
               SLAB_ACTIVE;
}

void daemon_return(struct daemon_client *client, struct daemon_extent *extents, size_t n_extents)
{
    uint64_t ids[RETURN_MAX];
    for (size_t from = 0; from < n_extents; from += RETURN_MAX) {
        size_t n = n_extents - from < RETURN_MAX ? n_extents - from : RETURN_MAX;
        for (size_t i = 0; i < n; i++) {
            struct daemon_extent *extent = &extents[from + i];
            ids[i] = extent->id;
            if (extent->memory) {
                if (!is_idle(client, extent))
                    set_states(client, extent, SLAB_IDLE);
                munmap(extent->memory, extent->n_slabs * SUPERSLAB_BYTES);
                set_states(client, extent, SLAB_EMPTY);
            }
            close(extent->fd);
            *extent = (struct daemon_extent){.fd = -1};
        }
        Hakmem__Request request = HAKMEM__REQUEST__INIT;
        Hakmem__Return message = HAKMEM__RETURN__INIT;
        message.n_extent_ids = n;
        message.extent_ids = ids;
        request.body_case = HAKMEM__REQUEST__BODY_RETURN_EXTENTS;
        request.return_extents = &message;
        Hakmem__Reply *reply = daemon_ask(client, &request, NULL, NULL);
        expect(reply, HAKMEM__REPLY__BODY_RETURN_EXTENTS);
        if (reply->return_extents->n_accepted != n)
            fail("the daemon did not take every extent back", EPROTO);
    }
}

Hakmem__StatsReply daemon_stats(struct daemon_client *client)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    Hakmem__Reply *reply = daemon_ask(client, &request, NULL, NULL);
    expect(reply, HAKMEM__REPLY__BODY_STATS);
    return *reply->stats;
}

void daemon_trim(struct daemon_client *client)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Trim trim = HAKMEM__TRIM__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_TRIM;
    request.trim = &trim;
    expect(daemon_ask(client, &request, NULL, NULL), HAKMEM__REPLY__BODY_TRIM);
}

void daemon_prewarm(struct daemon_client *client, uint64_t n_bytes)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Prewarm prewarm = HAKMEM__PREWARM__INIT;
    prewarm.bytes = n_bytes;
    request.body_case = HAKMEM__REQUEST__BODY_PREWARM;
    request.prewarm = &prewarm;
    expect(daemon_ask(client, &request, NULL, NULL), HAKMEM__REPLY__BODY_PREWARM);
}

bool daemon_wait(struct daemon_client *client,
                 bool (*done)(const Hakmem__StatsReply *stats, const void *context),
                 const void *context, unsigned timeout_s)
{
    uint64_t end = bench_now_ns() + timeout_s * UINT64_C(1000000000);
    for (;;) {
        Hakmem__StatsReply stats = daemon_stats(client);
        if (done(&stats, context))
            return true;
        if (bench_now_ns() > end)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}
