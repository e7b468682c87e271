/*
 * Packets into the whole request path of the daemon: wire_unpack_request(), request_serve() and
 * everything behind it, for two peers of different users, one of them permitted to give orders.
 * Packets are bytes from the input, or messages built from it, so that states behind a right Hello
 * are reached. Each answer must be one that a peer can read.
 */
#include "tests/fuzz/daemon.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_PEERS = 3, N_IDS = 32, MAX_STEPS = 60 };

struct asked {
    uint64_t ids[N_IDS]; /* of extents granted to anybody */
    size_t n_ids;
};

static void check_answer(struct request_answer *answer, struct asked *asked)
{
    static unsigned char memory[1 << 20];
    struct wire_arena arena = {.bytes = memory, .capacity = sizeof(memory)};
    Hakmem__Reply *reply;

    check_or_trap(answer->n_bytes <= CONN_REPLY_MAX_BYTES);
    if (answer->n_bytes > 0) {
        check_or_trap(wire_unpack_reply(&arena, answer->packet, answer->n_bytes, &reply) == 0);
        const Hakmem__LeaseReply *lease =
            reply->body_case == HAKMEM__REPLY__BODY_LEASE ? reply->lease : NULL;
        const Hakmem__HelloReply *hello =
            reply->body_case == HAKMEM__REPLY__BODY_HELLO ? reply->hello : NULL;
        size_t n = lease ? lease->n_extents : hello ? hello->n_extents : 0;
        Hakmem__Extent **extents = lease ? lease->extents : hello ? hello->extents : NULL;
        check_or_trap(answer->n_fds == n + (hello != NULL));
        for (size_t i = 0; i < n; i++) {
            check_or_trap(extent_slabs_is_valid(extents[i]->n_slabs));
            asked->ids[asked->n_ids++ % N_IDS] = extents[i]->id;
        }
    }
    request_close_fds(answer);
}

/* A message with fields from the input. 0: not packable. */
static size_t build(struct input *in, const struct asked *asked, uint8_t *packet)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__Hello hello = HAKMEM__HELLO__INIT;
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    Hakmem__Return returned = HAKMEM__RETURN__INIT;
    Hakmem__ClientQuery client = HAKMEM__CLIENT_QUERY__INIT;
    Hakmem__Prewarm prewarm = HAKMEM__PREWARM__INIT;
    Hakmem__Drain drain = HAKMEM__DRAIN__INIT;
    Hakmem__SetQuota quota = HAKMEM__SET_QUOTA__INIT;
    Hakmem__Ping ping = HAKMEM__PING__INIT;
    Hakmem__StatsQuery stats = HAKMEM__STATS_QUERY__INIT;
    Hakmem__ClientsQuery clients = HAKMEM__CLIENTS_QUERY__INIT;
    Hakmem__PoolQuery pool = HAKMEM__POOL_QUERY__INIT;
    Hakmem__Trim trim = HAKMEM__TRIM__INIT;
    static char *keys[] = {"bytes_per_user",       "bytes_per_client",    "clients_per_user",  "",
                           "descriptors_per_user", "requests_per_second", "requests_per_user", "x"};
    uint64_t ids[80];
    size_t n_bytes;

    request.id = input_byte(in);
    switch (input_byte(in) % 16) {
    case 0:
    case 1:
        request.body_case = HAKMEM__REQUEST__BODY_HELLO;
        request.hello = &hello;
        hello.version_min = input_byte(in) % 3;
        hello.version_max = hello.version_min + input_byte(in) % 2;
        hello.want_slabs = (uint32_t)input_number(in) % 20;
        hello.held_bytes = input_number(in);
        break;
    case 2:
    case 3:
    case 4:
        request.body_case = HAKMEM__REQUEST__BODY_LEASE;
        request.lease = &lease;
        lease.n_slabs = (uint32_t)input_number(in);
        lease.run_slabs = 1u << input_byte(in) % 6;
        if (lease.run_slabs == 32)
            lease.run_slabs = (uint32_t)input_number(in);
        break;
    case 5:
    case 6:
        request.body_case = HAKMEM__REQUEST__BODY_RETURN_EXTENTS;
        request.return_extents = &returned;
        returned.extent_ids = ids;
        returned.n_extent_ids = input_byte(in) % 70;
        for (size_t i = 0; i < returned.n_extent_ids; i++) {
            uint8_t which = input_byte(in);
            ids[i] = which % 8 ? asked->ids[which % N_IDS] : input_number(in);
        }
        break;
    case 7:
        request.body_case = HAKMEM__REQUEST__BODY_CLIENT;
        request.client = &client;
        client.pid = input_byte(in) % 2 ? (uint32_t)getpid() : input_u32(in);
        break;
    case 8:
        request.body_case = HAKMEM__REQUEST__BODY_PREWARM;
        request.prewarm = &prewarm;
        prewarm.bytes = input_number(in) << 16;
        break;
    case 9:
        request.body_case = HAKMEM__REQUEST__BODY_DRAIN;
        request.drain = &drain;
        drain.resume = input_byte(in) % 2;
        break;
    case 10:
        request.body_case = HAKMEM__REQUEST__BODY_SET_QUOTA;
        request.set_quota = &quota;
        quota.key = keys[input_byte(in) % 8];
        quota.value = input_number(in) << 18;
        quota.one_user = input_byte(in) % 2;
        quota.uid = input_byte(in) % 3 * 1000;
        break;
    case 11:
        request.body_case = HAKMEM__REQUEST__BODY_PING;
        request.ping = &ping;
        break;
    case 12:
        request.body_case = HAKMEM__REQUEST__BODY_STATS;
        request.stats = &stats;
        break;
    case 13:
        request.body_case = HAKMEM__REQUEST__BODY_CLIENTS;
        request.clients = &clients;
        break;
    case 14:
        request.body_case = HAKMEM__REQUEST__BODY_POOL;
        request.pool = &pool;
        break;
    default:
        request.body_case = HAKMEM__REQUEST__BODY_TRIM;
        request.trim = &trim;
        break;
    }
    return wire_pack_request(&request, packet, CONN_REQUEST_MAX_BYTES, &n_bytes) == 0 ? n_bytes : 0;
}

static void send_packet(struct daemon *d, struct request_peer *peer, const uint8_t *packet,
                        size_t n_bytes, struct asked *asked)
{
    const Hakmem__Request *request = request_parse(d->handler, packet, n_bytes);
    peer->max_fds = 1 + n_bytes % CONN_MAX_FDS; /* as much as peer.c finds room for */
    struct request_answer *answer = request_serve(d->handler, peer, request);
    bool disconnect = answer->disconnect;
    check_or_trap(answer->n_fds <= peer->max_fds);
    check_answer(answer, asked);
    if (disconnect)
        daemon_end_peer(d, peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct input in = {.bytes = bytes, .n_left = n_bytes};
    struct request_peer peers[N_PEERS] = {{.pid = getpid(), .uid = geteuid()},
                                          {.pid = getpid(), .uid = 1000},
                                          {.pid = 1, .uid = 1000}};
    struct asked asked = {0};
    struct daemon *d = daemon_begin();
    uint8_t packet[CONN_REQUEST_MAX_BYTES];

    for (int step = 0; in.n_left > 0 && step < MAX_STEPS; step++) {
        uint8_t choice = input_byte(&in);
        struct request_peer *peer = &peers[choice % N_PEERS];
        switch (choice / N_PEERS % 8) {
        case 0:
            daemon_end_peer(d, peer);
            break;
        case 1:
            daemon_turn(d);
            break;
        case 2: {
            size_t n = input_u16(&in) % (CONN_REQUEST_MAX_BYTES + 1);
            const uint8_t *run = input_run(&in, &n);
            send_packet(d, peer, run, n, &asked);
            break;
        }
        default: {
            size_t n = build(&in, &asked, packet);
            /* Sometimes a byte of it is wrong. */
            if (n > 0 && choice > 230)
                packet[input_u16(&in) % n] ^= (uint8_t)(1u << input_byte(&in) % 8);
            send_packet(d, peer, packet, n, &asked);
        }
        }
        daemon_check(d);
    }
    for (int i = 0; i < N_PEERS; i++)
        daemon_end_peer(d, &peers[i]);
    daemon_finish(d);
    return 0;
}
