/* See harness-client.h. */
#include "harness-client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/wire.h"

void client_connect(struct client *client, const struct daemon *daemon)
{
    uint64_t deadline = harness_deadline();
    int r;
    memset(client, 0, sizeof(*client));
    client->socket = -1;
    while ((r = conn_connect(daemon->socket_path, &client->socket)) == -EAGAIN) {
        require(!harness_is_late(deadline));
        harness_pause();
    }
    require_equal(r, 0);
}

void client_close(struct client *client)
{
    if (client->socket >= 0)
        close(client->socket);
    client->socket = -1;
    if (client->ledger)
        munmap(client->ledger, ledger_bytes(client->n_slots));
    client->ledger = NULL;
}

int client_send(struct client *client, Hakmem__Request *request)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;
    request->id = ++client->last_id;
    require_equal(wire_pack_request(request, packet, sizeof(packet), &n_bytes), 0);
    return conn_send(client->socket, packet, n_bytes, NULL, 0);
}

int client_send_bytes(struct client *client, const void *bytes, size_t n_bytes)
{
    return conn_send(client->socket, bytes, n_bytes, NULL, 0);
}

Hakmem__Reply *client_receive(struct client *client, int fds[CONN_MAX_FDS], size_t *n_fds)
{
    static _Thread_local unsigned char packet[CONN_REPLY_MAX_BYTES];
    static _Thread_local _Alignas(max_align_t) unsigned char bytes[CONN_REPLY_MAX_BYTES];
    struct wire_arena arena = {.bytes = bytes, .capacity = sizeof(bytes)};
    struct pollfd wanted = {.fd = client->socket, .events = POLLIN};
    Hakmem__Reply *reply;
    size_t n_bytes = 0;

    *n_fds = 0;
    int r;
    do {
        r = poll(&wanted, 1, HARNESS_PATIENCE_MS);
    } while (r < 0 && errno == EINTR);
    if (r != 1)
        harness_fail(__FILE__, __LINE__, "a reply in time");
    r = conn_recv(client->socket, packet, sizeof(packet), &n_bytes, fds, n_fds);
    if (r == CONN_CLOSED || r == -ECONNRESET)
        return NULL;
    require_equal(r, 0);
    require_equal(wire_unpack_reply(&arena, packet, n_bytes, &reply), 0);
    if (reply->body_case == HAKMEM__REPLY__BODY_ERROR) {
        snprintf(client->error_limit, sizeof(client->error_limit), "%s", reply->error->limit);
        snprintf(client->error_message, sizeof(client->error_message), "%s", reply->error->message);
    }
    return reply;
}

Hakmem__ErrorCode client_expect_hang_up(struct client *client)
{
    Hakmem__ErrorCode code = HAKMEM__ERROR_CODE__ERROR_NONE;
    int fds[CONN_MAX_FDS];
    size_t n_fds;
    for (Hakmem__Reply *reply; (reply = client_receive(client, fds, &n_fds));) {
        conn_close_fds(fds, n_fds);
        if (reply->body_case == HAKMEM__REPLY__BODY_ERROR)
            code = reply->error->code;
    }
    return code;
}

/* The reply to the request just sent, of this kind; NULL and the code if it is an Error. */
static Hakmem__Reply *answer(struct client *client, Hakmem__Reply__BodyCase kind,
                             int fds[CONN_MAX_FDS], size_t *n_fds, Hakmem__ErrorCode *code)
{
    Hakmem__Reply *reply = client_receive(client, fds, n_fds);
    require(reply != NULL);
    require_equal(reply->id, client->last_id);
    *code = HAKMEM__ERROR_CODE__ERROR_NONE;
    if (reply->body_case == HAKMEM__REPLY__BODY_ERROR) {
        require_equal(*n_fds, 0);
        require(reply->error->code != HAKMEM__ERROR_CODE__ERROR_NONE);
        *code = reply->error->code;
        return NULL;
    }
    require_equal(reply->body_case, kind);
    return reply;
}

static void take_extents(Hakmem__Extent **extents, size_t n, const int *fds, struct lease *leases,
                         size_t *n_leases)
{
    for (size_t i = 0; i < n; i++) {
        require(extent_slabs_is_valid(extents[i]->n_slabs));
        require(extents[i]->huge_slabs <= extents[i]->n_slabs);
        leases[i] = (struct lease){.id = extents[i]->id,
                                   .fd = fds[i],
                                   .n_slabs = extents[i]->n_slabs,
                                   .first_slot = extents[i]->first_slot,
                                   .huge_slabs = extents[i]->huge_slabs};
    }
    *n_leases = n;
}

static void map_ledger(struct client *client, int fd)
{
    client->ledger =
        mmap(NULL, ledger_bytes(client->n_slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    require(client->ledger != MAP_FAILED);
    close(fd);
    require_equal(client->ledger->magic, LEDGER_MAGIC);
    require_equal(client->ledger->abi_version, LEDGER_ABI_VERSION);
    require_equal(client->ledger->n_slots, client->n_slots);
}

Hakmem__ErrorCode client_hello(struct client *client, uint32_t want_slabs,
                               struct lease leases[CONN_MAX_FDS], size_t *n_leases)
{
    Hakmem__Hello hello = HAKMEM__HELLO__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__ErrorCode code;
    int fds[CONN_MAX_FDS];
    size_t n_fds;

    hello.version_min = WIRE_VERSION_MIN;
    hello.version_max = WIRE_VERSION_MAX;
    hello.want_slabs = want_slabs;
    hello.held_bytes = client->held_bytes;
    hello.features = 1;
    hello.client_id = client->id;
    if (client->id != 0) {
        hello.reattach_token.data = client->token;
        hello.reattach_token.len = sizeof(client->token);
    }
    request.body_case = HAKMEM__REQUEST__BODY_HELLO;
    request.hello = &hello;
    *n_leases = 0;
    require_equal(client_send(client, &request), 0);
    Hakmem__Reply *reply = answer(client, HAKMEM__REPLY__BODY_HELLO, fds, &n_fds, &code);
    if (!reply)
        return code;
    client->is_reattached = reply->hello->reattached;
    require_equal(n_fds, reply->hello->n_extents + !client->is_reattached);
    require_equal(reply->hello->version, 1);
    if (client->is_reattached)
        require_equal(reply->hello->ledger_slots, client->n_slots);
    client->id = reply->hello->client_id;
    require_equal(reply->hello->reattach_token.len, client->id != 0 ? sizeof(client->token) : 0);
    if (client->id != 0)
        memcpy(client->token, reply->hello->reattach_token.data, sizeof(client->token));
    client->n_slots = reply->hello->ledger_slots;
    client->max_client_bytes = reply->hello->max_client_bytes;
    if (!client->is_reattached)
        map_ledger(client, fds[0]);
    take_extents(reply->hello->extents, reply->hello->n_extents, fds + !client->is_reattached,
                 leases, n_leases);
    return HAKMEM__ERROR_CODE__ERROR_NONE;
}

Hakmem__ErrorCode client_come_back(struct client *client, const struct daemon *daemon,
                                   uint32_t want_slabs, struct lease leases[CONN_MAX_FDS],
                                   size_t *n_leases)
{
    struct client again;
    client_connect(&again, daemon);
    if (client->socket >= 0)
        close(client->socket);
    client->socket = again.socket;
    client->last_id = 0;
    return client_hello(client, want_slabs, leases, n_leases);
}

Hakmem__ErrorCode client_lease(struct client *client, uint32_t n_slabs, uint32_t run_slabs,
                               struct lease leases[CONN_MAX_FDS], size_t *n_leases)
{
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__ErrorCode code;
    int fds[CONN_MAX_FDS];
    size_t n_fds;

    lease.n_slabs = n_slabs;
    lease.run_slabs = run_slabs;
    request.body_case = HAKMEM__REQUEST__BODY_LEASE;
    request.lease = &lease;
    *n_leases = 0;
    require_equal(client_send(client, &request), 0);
    Hakmem__Reply *reply = answer(client, HAKMEM__REPLY__BODY_LEASE, fds, &n_fds, &code);
    if (!reply)
        return code;
    require(n_fds >= 1);
    require_equal(n_fds, reply->lease->n_extents);
    take_extents(reply->lease->extents, n_fds, fds, leases, n_leases);
    return HAKMEM__ERROR_CODE__ERROR_NONE;
}

Hakmem__ErrorCode client_return(struct client *client, const uint64_t *ids, size_t n,
                                uint32_t *n_accepted)
{
    Hakmem__Return body = HAKMEM__RETURN__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__ErrorCode code;
    int fds[CONN_MAX_FDS];
    size_t n_fds;

    body.n_extent_ids = n;
    body.extent_ids = (uint64_t *)ids;
    request.body_case = HAKMEM__REQUEST__BODY_RETURN_EXTENTS;
    request.return_extents = &body;
    *n_accepted = 0;
    require_equal(client_send(client, &request), 0);
    Hakmem__Reply *reply = answer(client, HAKMEM__REPLY__BODY_RETURN_EXTENTS, fds, &n_fds, &code);
    if (reply)
        *n_accepted = reply->return_extents->n_accepted;
    return code;
}

static Hakmem__ErrorCode set_quota(struct client *client, Hakmem__SetQuota body, const char *key,
                                   uint64_t value)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__ErrorCode code;
    int fds[CONN_MAX_FDS];
    size_t n_fds;

    body.key = (char *)key;
    body.value = value;
    request.body_case = HAKMEM__REQUEST__BODY_SET_QUOTA;
    request.set_quota = &body;
    require_equal(client_send(client, &request), 0);
    (void)answer(client, HAKMEM__REPLY__BODY_SET_QUOTA, fds, &n_fds, &code);
    return code;
}

Hakmem__ErrorCode client_set_quota(struct client *client, const char *key, uint64_t value)
{
    Hakmem__SetQuota body = HAKMEM__SET_QUOTA__INIT;
    return set_quota(client, body, key, value);
}

Hakmem__ErrorCode client_set_user_quota(struct client *client, const char *key, uint64_t value,
                                        uid_t uid)
{
    Hakmem__SetQuota body = HAKMEM__SET_QUOTA__INIT;
    body.one_user = true;
    body.uid = uid;
    return set_quota(client, body, key, value);
}

Hakmem__ErrorCode client_trim(struct client *client, uint64_t *released_bytes)
{
    Hakmem__Trim body = HAKMEM__TRIM__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__ErrorCode code;
    int fds[CONN_MAX_FDS];
    size_t n_fds;

    request.body_case = HAKMEM__REQUEST__BODY_TRIM;
    request.trim = &body;
    require_equal(client_send(client, &request), 0);
    Hakmem__Reply *reply = answer(client, HAKMEM__REPLY__BODY_TRIM, fds, &n_fds, &code);
    if (reply)
        *released_bytes = reply->trim->released_bytes;
    return code;
}

uint64_t client_count_stock_fds(struct client *client)
{
    Hakmem__PoolQuery query = HAKMEM__POOL_QUERY__INIT;
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__ErrorCode code;
    int fds[CONN_MAX_FDS];
    size_t n_fds;
    uint64_t n = 0;

    request.body_case = HAKMEM__REQUEST__BODY_POOL;
    request.pool = &query;
    require_equal(client_send(client, &request), 0);
    Hakmem__Reply *reply = answer(client, HAKMEM__REPLY__BODY_POOL, fds, &n_fds, &code);
    require(reply != NULL);
    for (size_t i = 0; i < reply->pool->n_orders; i++)
        n += reply->pool->orders[i]->n_extents + reply->pool->orders[i]->n_recycled;
    return n + reply->pool->fd_ahead;
}

void client_begin(struct client *client, const struct daemon *daemon, struct lease *lease)
{
    struct lease leases[CONN_MAX_FDS];
    size_t n_leases;
    client_connect(client, daemon);
    require_equal(client_hello(client, 1, leases, &n_leases), HAKMEM__ERROR_CODE__ERROR_NONE);
    if (n_leases == 0)
        require_equal(client_lease(client, 1, 1, leases, &n_leases),
                      HAKMEM__ERROR_CODE__ERROR_NONE);
    require_equal(n_leases, 1);
    require_equal(leases[0].n_slabs, 1);
    *lease = leases[0];
    lease_map(client, lease);
}

/* ---- extents ---- */

static size_t lease_bytes(const struct lease *lease)
{
    return lease->n_slabs * SUPERSLAB_BYTES;
}

void lease_map(const struct client *client, struct lease *lease)
{
    lease->memory =
        mmap(NULL, lease_bytes(lease), PROT_READ | PROT_WRITE, MAP_SHARED, lease->fd, 0);
    require(lease->memory != MAP_FAILED);
    for (uint32_t i = 0; i < lease->n_slabs; i++)
        require(lease_change(client, lease, i, SLAB_ACTIVE));
}

void lease_unmap(struct lease *lease)
{
    if (lease->memory)
        munmap(lease->memory, lease_bytes(lease));
    lease->memory = NULL;
}

void lease_close(struct lease *lease)
{
    if (lease->fd >= 0)
        close(lease->fd);
    lease->fd = -1;
}

bool lease_change(const struct client *client, const struct lease *lease, uint32_t slab,
                  enum slab_state to)
{
    uint32_t *slot = &client->ledger->slots[lease->first_slot + slab];
    return ledger_slab_change(slot, ledger_slot_read(slot), LEDGER_CLIENT, to);
}

enum slab_state lease_state(const struct client *client, const struct lease *lease, uint32_t slab)
{
    return ledger_word_state(ledger_slot_read(&client->ledger->slots[lease->first_slot + slab]));
}

void lease_drop(const struct client *client, struct lease *lease)
{
    uint64_t deadline = harness_deadline();
    lease_unmap(lease);
    lease_close(lease);
    for (uint32_t i = 0; i < lease->n_slabs; i++) {
        while (lease_state(client, lease, i) != SLAB_EMPTY) {
            if (lease_state(client, lease, i) == SLAB_ACTIVE)
                (void)lease_change(client, lease, i, SLAB_IDLE);
            /* From RECLAIMING there is no way but the daemon's. */
            (void)lease_change(client, lease, i, SLAB_EMPTY);
            require(!harness_is_late(deadline));
        }
    }
}

void lease_give_back(struct client *client, struct lease *lease)
{
    uint32_t n_accepted;
    lease_drop(client, lease);
    require_equal(client_return(client, &lease->id, 1, &n_accepted),
                  HAKMEM__ERROR_CODE__ERROR_NONE);
    require_equal(n_accepted, 1);
}

/*
 * Word by word and without a sanitizer's eyes: it would look at each of millions of words that
 * nobody but us and the kernel can have written.
 */
#define UNSEEN __attribute__((no_sanitize("address", "thread", "undefined"), noinline))

static UNSEEN bool words_are(const uint64_t *words, size_t n_words, uint64_t value)
{
    uint64_t difference = 0;
    for (size_t i = 0; i < n_words; i++)
        difference |= words[i] ^ value;
    return difference == 0;
}

static UNSEEN void words_fill(volatile uint64_t *words, size_t n_words, uint64_t value)
{
    for (size_t i = 0; i < n_words; i++)
        words[i] = value;
}

bool lease_slab_is(const struct lease *lease, uint32_t slab, unsigned char value)
{
    return words_are((uint64_t *)(lease->memory + slab * SUPERSLAB_BYTES),
                     SUPERSLAB_BYTES / sizeof(uint64_t), value * 0x0101010101010101u);
}

bool lease_is(const struct lease *lease, unsigned char value)
{
    return words_are((uint64_t *)lease->memory, lease_bytes(lease) / sizeof(uint64_t),
                     value * 0x0101010101010101u);
}

void lease_fill(const struct lease *lease, unsigned char value)
{
    words_fill((uint64_t *)lease->memory, lease_bytes(lease) / sizeof(uint64_t),
               value * 0x0101010101010101u);
}

uint64_t lease_backed_bytes(const struct lease *lease)
{
    struct stat status;
    require(fstat(lease->fd, &status) == 0);
    return (uint64_t)status.st_blocks * 512;
}
