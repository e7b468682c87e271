/* See request.h. */
#include "hakmemd/request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "hakmemd/adopt.h"
#include "hakmemd/clock.h"

/* A request of 4 KiB unpacks to at most so much: 64-bit ids packed one byte each, and the structs
 * around them. */
#define ARENA_BYTES ((size_t)64 << 10)

#define LEASE_MAX_SLABS 256u
#define RETURN_MAX_IDS  64u
/* Clients may claim what they like; their sum must not overflow. */
#define HELD_MAX_BYTES (UINT64_C(1) << 44)

static_assert(STORE_TOKEN_BYTES == WIRE_TOKEN_BYTES, "what is recorded is what is shown");

/* Everything a handler function needs. */
struct request_call {
    struct request_handler *handler;
    struct request_peer *peer;
    const Hakmem__Request *request;
    Hakmem__Reply *reply;
    Hakmem__Error *error;
    struct request_answer *answer;
};

int request_handler_new(struct control *control, struct request_handler **handler_out)
{
    struct request_handler *handler = calloc(1, sizeof(*handler));
    unsigned char *arena = malloc(ARENA_BYTES);
    if (!handler || !arena) {
        free(handler);
        free(arena);
        return -ENOMEM;
    }
    handler->control = control;
    handler->arena = (struct wire_arena){.bytes = arena, .capacity = ARENA_BYTES};
    if (getrandom(&handler->daemon_epoch, sizeof(handler->daemon_epoch), 0) !=
        sizeof(handler->daemon_epoch))
        handler->daemon_epoch = clock_now_ms() << 20 ^ (uint64_t)getpid();
    for (size_t i = 0; i < CONN_MAX_FDS; i++)
        handler->extent_pointers[i] = &handler->extents[i];
    *handler_out = handler;
    return 0;
}

void request_handler_free(struct request_handler *handler)
{
    if (!handler)
        return;
    control_reply_deinit(&handler->reply_memory);
    free(handler->arena.bytes);
    free(handler);
}

Hakmem__Request *request_parse(struct request_handler *handler, const void *packet, size_t n_bytes)
{
    Hakmem__Request *request;
    return wire_unpack_request(&handler->arena, packet, n_bytes, &request) < 0 ? NULL : request;
}

bool request_may_send_fds(const Hakmem__Request *request)
{
    return request->body_case == HAKMEM__REQUEST__BODY_HELLO ||
           request->body_case == HAKMEM__REQUEST__BODY_LEASE;
}

bool request_wants_cgroup_id(const struct request_handler *handler, const struct request_peer *peer,
                             const Hakmem__Request *request)
{
    return request && request->body_case == HAKMEM__REQUEST__BODY_HELLO && !peer->client &&
           cgroups_go_by_ids(handler->control->cgroups);
}

bool request_answer_is_large(const Hakmem__Request *request)
{
    return request->body_case == HAKMEM__REQUEST__BODY_CLIENTS ||
           request->body_case == HAKMEM__REQUEST__BODY_CLIENT;
}

/* ---- refusals ---- */

static void refuse(struct request_call *call, Hakmem__ErrorCode code, const char *message,
                   const char *limit)
{
    call->error->code = code;
    call->error->message = (char *)message;
    call->error->limit = (char *)limit;
    call->reply->body_case = HAKMEM__REPLY__BODY_ERROR;
    call->reply->error = call->error;
}

/* A peer that breaks the protocol is told and let go. */
static void refuse_and_disconnect(struct request_call *call, Hakmem__ErrorCode code,
                                  const char *message)
{
    refuse(call, code, message, "");
    call->answer->disconnect = true;
    call->answer->is_protocol_error = true;
}

static void refuse_lease(struct request_call *call, int condition)
{
    switch (condition) {
    case LEASE_USER_LIMIT:
        refuse(call, HAKMEM__ERROR_CODE__ERROR_QUOTA, "the user holds as much as it may",
               "quota.bytes_per_user");
        break;
    case LEASE_CLIENT_LIMIT:
        refuse(call, HAKMEM__ERROR_CODE__ERROR_QUOTA, "the client holds as much as it may",
               "quota.bytes_per_client");
        break;
    case LEASE_CGROUP_LIMIT:
        refuse(call, HAKMEM__ERROR_CODE__ERROR_QUOTA,
               "the client's control group is near its limit", "memory.max");
        break;
    case LEASE_FDS_LIMIT:
        refuse(call, HAKMEM__ERROR_CODE__ERROR_QUOTA,
               "the daemon's descriptors are few, and the user has its share of them",
               "LimitNOFILE");
        break;
    case LEASE_DRAINING:
        refuse(call, HAKMEM__ERROR_CODE__ERROR_BUSY, "draining", "");
        break;
    default:
        refuse(call, HAKMEM__ERROR_CODE__ERROR_NO_MEMORY, "the stock is out and memory is short",
               "");
        break;
    }
}

/* ---- a client's requests ---- */

/* Adds grants to the answer: a message and a descriptor each. */
static size_t list_grants(struct request_call *call, const struct lease_grant *grants,
                          size_t n_grants)
{
    for (size_t i = 0; i < n_grants; i++) {
        const struct extent *extent = grants[i].extent;
        Hakmem__Extent *out = &call->handler->extents[i];
        hakmem__extent__init(out);
        out->id = extent->id;
        out->n_slabs = extent->n_slabs;
        out->first_slot = extent->first_slot;
        out->huge_slabs = (uint32_t)__builtin_popcount(extent->huge_slabs);
        call->answer->fds[call->answer->n_fds++] = grants[i].fd;
    }
    return n_grants;
}

static bool check_hello(struct request_call *call, const Hakmem__Hello *hello)
{
    if (call->peer->client) {
        refuse_and_disconnect(call, HAKMEM__ERROR_CODE__ERROR_STATE, "a second Hello");
        return false;
    }
    if (hello->version_min > WIRE_VERSION_MAX || hello->version_max < WIRE_VERSION_MIN ||
        hello->version_min > hello->version_max) {
        refuse(call, HAKMEM__ERROR_CODE__ERROR_VERSION, "no protocol version in common", "");
        call->answer->disconnect = true;
        return false;
    }
    if (hello->want_slabs > EXTENT_MAX_SLABS) {
        refuse(call, HAKMEM__ERROR_CODE__ERROR_INVALID, "want_slabs is more than 16", "");
        return false;
    }
    return true;
}

static struct client *make_client(struct request_call *call)
{
    struct control *control = call->handler->control;
    struct client *client;
    int r = stats_fds_available(control->stats, FDS_FOR_PEER, 2) ? 0 : -EMFILE;
    if (r == 0)
        r = client_new(control->quota, control->ledgers, control->cgroups, call->peer->pid,
                       call->peer->uid, call->peer->cgroup_id, call->handler->daemon_epoch,
                       &client);
    if (r == QUOTA_EXCEEDED) {
        control->stats->denied_quota_total++;
        refuse(call, HAKMEM__ERROR_CODE__ERROR_QUOTA, "the user has as many clients as it may",
               "quota.clients_per_user");
        return NULL;
    }
    if (r < 0) {
        control->stats->denied_memory_total++;
        refuse(call, HAKMEM__ERROR_CODE__ERROR_NO_MEMORY, "no memory for the client's ledger", "");
        return NULL;
    }
    lease_add_client(control->leases, client);
    if (!stats_fds_available(control->stats, FDS_FOR_PIDFD, 0))
        ledgers_map_soon(client->mapping); /* and closed */
    call->answer->fds[call->answer->n_fds++] = client->mapping->fd;
    call->answer->n_lent_fds = call->answer->n_fds;
    return client;
}

/* The client that this one was before a restart, or NULL. One that claims none will not come for it
 * later. */
static struct client *find_client(struct request_call *call, const Hakmem__Hello *hello)
{
    struct adopt *adopt = call->handler->control->adopt;
    if (hello->client_id != 0)
        return adopt_reattach(adopt, hello->client_id, hello->reattach_token.data,
                              hello->reattach_token.len, call->peer->pid, call->peer->uid);
    adopt_forget(adopt, call->peer->pid, call->peer->uid);
    return NULL;
}

/* What it holds of which we know nothing: of all that it says, what it does not lease here. */
static void note_held(struct request_call *call, struct client *client, const Hakmem__Hello *hello)
{
    uint64_t n_bytes = hello->held_bytes < HELD_MAX_BYTES ? hello->held_bytes : HELD_MAX_BYTES;
    client->held_bytes = n_bytes > client->leased_bytes ? n_bytes - client->leased_bytes : 0;
    call->handler->control->stats->held_bytes += client->held_bytes;
}

static void serve_hello(struct request_call *call)
{
    static Hakmem__HelloReply out;
    const Hakmem__Hello *hello = call->request->hello;
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n_grants = 0;

    if (!check_hello(call, hello))
        return;
    struct client *client = find_client(call, hello);
    bool is_back = client != NULL;
    if (!is_back)
        client = make_client(call);
    if (!client)
        return;
    call->peer->client = client;
    note_held(call, client, hello);
    enum ledger_pressure pressure = pressure_level(call->handler->control->pressure);
    if (is_back || pressure != LEDGER_PRESSURE_NONE) /* which is what a new ledger says */
        client_set_pressure(client, pressure);
    lease_set_cpu(call->handler->control->leases, client, hello->cpu_plus_one);
    hakmem__hello_reply__init(&out);
    /* A client that gets no memory now is a client all the same: it asks again, and is told then
     * why not. */
    if (hello->want_slabs > 0 && call->peer->max_fds > 1 &&
        lease_grant(call->handler->control->leases, client, hello->want_slabs, 1,
                    call->peer->max_fds - 1, grants, &n_grants) == 0)
        out.n_extents = list_grants(call, grants, n_grants);
    out.extents = call->handler->extent_pointers;
    out.version = hello->version_max < WIRE_VERSION_MAX ? hello->version_max : WIRE_VERSION_MAX;
    out.ledger_slots = client->n_slots;
    out.max_client_bytes = quota_user_limits(client->user).bytes_per_client;
    out.reattached = is_back;
    if ((hello->features & WIRE_FEATURE_REATTACH) && client->id != 0) {
        out.features = WIRE_FEATURE_REATTACH;
        out.client_id = client->id;
        out.reattach_token.data = client->token;
        out.reattach_token.len = sizeof(client->token);
    }
    call->reply->body_case = HAKMEM__REPLY__BODY_HELLO;
    call->reply->hello = &out;
}

static bool is_client(struct request_call *call)
{
    if (call->peer->client)
        return true;
    refuse_and_disconnect(call, HAKMEM__ERROR_CODE__ERROR_STATE, "no Hello yet");
    return false;
}

static void serve_lease(struct request_call *call)
{
    static Hakmem__LeaseReply out;
    const Hakmem__Lease *lease = call->request->lease;
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n_grants;

    if (!is_client(call))
        return;
    if (lease->n_slabs < 1 || lease->n_slabs > LEASE_MAX_SLABS ||
        !extent_slabs_is_valid(lease->run_slabs)) {
        refuse(call, HAKMEM__ERROR_CODE__ERROR_INVALID, "n_slabs or run_slabs out of range", "");
        return;
    }
    lease_set_cpu(call->handler->control->leases, call->peer->client, lease->cpu_plus_one);
    int r = lease_grant(call->handler->control->leases, call->peer->client, lease->n_slabs,
                        lease->run_slabs, call->peer->max_fds, grants, &n_grants);
    if (r != 0) {
        refuse_lease(call, r);
        return;
    }
    hakmem__lease_reply__init(&out);
    out.n_extents = list_grants(call, grants, n_grants);
    out.extents = call->handler->extent_pointers;
    call->reply->body_case = HAKMEM__REPLY__BODY_LEASE;
    call->reply->lease = &out;
}

static void serve_return(struct request_call *call)
{
    static Hakmem__ReturnReply out;
    const Hakmem__Return *returned = call->request->return_extents;

    if (!is_client(call))
        return;
    if (returned->n_extent_ids > RETURN_MAX_IDS) {
        refuse(call, HAKMEM__ERROR_CODE__ERROR_INVALID, "more than 64 extents", "");
        return;
    }
    hakmem__return_reply__init(&out);
    for (size_t i = 0; i < returned->n_extent_ids; i++)
        out.n_accepted += lease_return(call->handler->control->leases, call->peer->client,
                                       returned->extent_ids[i]);
    call->reply->body_case = HAKMEM__REPLY__BODY_RETURN_EXTENTS;
    call->reply->return_extents = &out;
}

/* ---- control ---- */

static bool may_give_orders(const struct request_peer *peer)
{
    return peer->uid == 0 || peer->uid == geteuid();
}

unsigned request_begin(struct request_handler *handler, const struct request_peer *peer,
                       const Hakmem__Request *request)
{
    struct reclaim *reclaim = handler->control->reclaim;
    switch (request->body_case) {
    case HAKMEM__REQUEST__BODY_STATS:
    case HAKMEM__REQUEST__BODY_CLIENTS:
    case HAKMEM__REQUEST__BODY_CLIENT:
        return reclaim_look(reclaim, false);
    case HAKMEM__REQUEST__BODY_TRIM:
        return may_give_orders(peer) ? reclaim_look(reclaim, true) : 0;
    default:
        return 0;
    }
}

bool request_is_ready(const struct request_handler *handler, unsigned round)
{
    return reclaim_has_looked(handler->control->reclaim, round);
}

static bool is_permitted(struct request_call *call)
{
    if (may_give_orders(call->peer))
        return true;
    refuse(call, HAKMEM__ERROR_CODE__ERROR_NOT_PERMITTED,
           "only root and the daemon's own user may do that", "");
    return false;
}

static void refuse_by_errno(struct request_call *call, int r)
{
    if (r == -EINVAL)
        refuse(call, HAKMEM__ERROR_CODE__ERROR_INVALID, "no such key", "");
    else if (r == -ERANGE)
        refuse(call, HAKMEM__ERROR_CODE__ERROR_INVALID, "a value out of range", "");
    else if (r < 0)
        refuse(call, HAKMEM__ERROR_CODE__ERROR_NO_MEMORY, "the daemon is out of memory", "");
}

static void serve_order(struct request_call *call)
{
    struct control *control = call->handler->control;
    struct control_reply *memory = &call->handler->reply_memory;
    const Hakmem__Request *request = call->request;

    if (!is_permitted(call))
        return;
    switch (request->body_case) {
    case HAKMEM__REQUEST__BODY_TRIM:
        control_trim(control, memory, call->reply);
        break;
    case HAKMEM__REQUEST__BODY_PREWARM:
        control_prewarm(control, request->prewarm->bytes, memory, call->reply);
        break;
    case HAKMEM__REQUEST__BODY_DRAIN:
        control_drain(control, request->drain->resume, memory, call->reply);
        break;
    default:
        refuse_by_errno(call, control_set_quota(control, request->set_quota, memory, call->reply));
        break;
    }
}

static void serve_query(struct request_call *call)
{
    struct control *control = call->handler->control;
    struct control_reply *memory = &call->handler->reply_memory;
    const Hakmem__Request *request = call->request;

    switch (request->body_case) {
    case HAKMEM__REQUEST__BODY_PING:
        control_ping(control, memory, call->reply);
        break;
    case HAKMEM__REQUEST__BODY_STATS:
        control_stats(control, memory, call->reply);
        break;
    case HAKMEM__REQUEST__BODY_POOL:
        control_pool(control, memory, call->reply);
        break;
    case HAKMEM__REQUEST__BODY_CLIENTS:
        refuse_by_errno(call, control_clients(control, 0, memory, call->reply));
        break;
    default:
        refuse_by_errno(call, control_clients(control, request->client->pid, memory, call->reply));
        break;
    }
}

static void dispatch(struct request_call *call)
{
    switch (call->request->body_case) {
    case HAKMEM__REQUEST__BODY_HELLO:
        serve_hello(call);
        break;
    case HAKMEM__REQUEST__BODY_LEASE:
        serve_lease(call);
        break;
    case HAKMEM__REQUEST__BODY_RETURN_EXTENTS:
        serve_return(call);
        break;
    case HAKMEM__REQUEST__BODY_PING:
    case HAKMEM__REQUEST__BODY_STATS:
    case HAKMEM__REQUEST__BODY_CLIENTS:
    case HAKMEM__REQUEST__BODY_CLIENT:
    case HAKMEM__REQUEST__BODY_POOL:
        serve_query(call);
        break;
    case HAKMEM__REQUEST__BODY_TRIM:
    case HAKMEM__REQUEST__BODY_PREWARM:
    case HAKMEM__REQUEST__BODY_DRAIN:
    case HAKMEM__REQUEST__BODY_SET_QUOTA:
        serve_order(call);
        break;
    default: /* of a later version */
        refuse(call, HAKMEM__ERROR_CODE__ERROR_UNSUPPORTED, "no such request", "");
        break;
    }
}

static struct request_answer *begin_answer(struct request_handler *handler)
{
    struct request_answer *answer = &handler->answer;
    answer->n_bytes = 0;
    answer->n_fds = 0;
    answer->n_lent_fds = 0;
    answer->disconnect = false;
    answer->is_protocol_error = false;
    return answer;
}

static void pack_answer(struct request_call *call)
{
    struct request_answer *answer = call->answer;
    /* Replies are bounded to fit; were one not to, the peer is not left waiting for it. */
    if (wire_pack_reply(call->reply, answer->packet, sizeof(answer->packet), &answer->n_bytes) < 0)
        answer->disconnect = true;
}

struct request_answer *request_serve(struct request_handler *handler, struct request_peer *peer,
                                     const Hakmem__Request *request)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    struct request_call call = {.handler = handler,
                                .peer = peer,
                                .request = request,
                                .reply = &reply,
                                .error = &error,
                                .answer = begin_answer(handler)};
    if (request) {
        reply.id = request->id;
        dispatch(&call);
    } else {
        refuse_and_disconnect(&call, HAKMEM__ERROR_CODE__ERROR_MALFORMED,
                              "not a request of this protocol");
    }
    pack_answer(&call);
    return call.answer;
}

void request_close_fds(struct request_answer *answer)
{
    conn_close_fds(answer->fds + answer->n_lent_fds, answer->n_fds - answer->n_lent_fds);
}

struct request_answer *request_refuse_fds(struct request_handler *handler,
                                          struct request_peer *peer, const Hakmem__Request *request)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    struct request_call call = {
        .handler = handler, .reply = &reply, .error = &error, .answer = begin_answer(handler)};
    handler->control->stats->denied_quota_total++;
    if (peer->client)
        peer->client->n_denied_total++;
    reply.id = request->id;
    refuse(&call, HAKMEM__ERROR_CODE__ERROR_QUOTA,
           "too many descriptors are on their way to the user's programs",
           "quota.descriptors_per_user");
    pack_answer(&call);
    return call.answer;
}

struct request_answer *request_refuse_connection(struct request_handler *handler, bool for_fds)
{
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    struct request_call call = {
        .handler = handler, .reply = &reply, .error = &error, .answer = begin_answer(handler)};
    handler->control->stats->denied_quota_total++;
    if (for_fds)
        refuse(&call, HAKMEM__ERROR_CODE__ERROR_QUOTA,
               "the daemon's descriptors are few, and the user has its share of them",
               "LimitNOFILE");
    else
        refuse(&call, HAKMEM__ERROR_CODE__ERROR_QUOTA, "the user has as many connections as it may",
               "quota.clients_per_user");
    call.answer->disconnect = true;
    pack_answer(&call);
    return call.answer;
}
