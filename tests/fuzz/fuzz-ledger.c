/*
 * Ledgers that a client scribbles over, into every reader of a ledger in the daemon: the reclaimer,
 * the usage shown to hakmemctl, counters and classes, slots that are handed out and taken back.
 * Whatever is written, the daemon's own accounts stand, it never punches what is not leased, and
 * its answers stay readable.
 */
#include "hakmemd/lease.h"
#include "tests/fuzz/daemon.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { N_CLIENTS = 2, N_EXTENTS = 8, MAX_STEPS = 80 };

struct scribbler {
    struct request_peer peer;
    uint64_t ids[N_EXTENTS];
    uint32_t first_slots[N_EXTENTS];
    size_t n_ids;
};

static void join(struct daemon *d, struct scribbler *s, uid_t uid)
{
    int r = client_new(&d->core.quota, &d->core.ledgers, &d->core.cgroups, getpid(), uid, 0, 1,
                       &s->peer.client);
    check_or_trap(r == 0);
    lease_add_client(&d->core.leases, s->peer.client);
}

static void lease(struct daemon *d, struct scribbler *s, uint32_t n_slabs)
{
    struct lease_grant grants[CONN_MAX_FDS];
    size_t n;
    if (lease_grant(&d->core.leases, s->peer.client, n_slabs, 1, 4, grants, &n) != 0)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t at = s->n_ids++ % N_EXTENTS;
        s->ids[at] = grants[i].extent->id;
        s->first_slots[at] = grants[i].extent->first_slot;
        close(grants[i].fd);
    }
}

/* Bytes anywhere in the ledger. */
static void scribble(struct scribbler *s, struct input *in)
{
    struct client *client = s->peer.client;
    size_t size = ledger_bytes(client->n_slots);
    size_t at = input_u16(in) % size;
    size_t n = input_byte(in);
    const uint8_t *run = input_run(in, &n);
    if (n > size - at)
        n = size - at;
    memcpy((uint8_t *)client_ledger(client) + at, run, n);
}

/* A word of a slot that is leased: mostly a state that exists. */
static void write_word(struct scribbler *s, struct input *in)
{
    uint32_t *slots = client_ledger(s->peer.client)->slots;
    uint32_t slot = s->first_slots[input_byte(in) % N_EXTENTS] + input_byte(in) % 2;
    uint8_t state = input_byte(in);
    slots[slot % s->peer.client->n_slots] =
        (uint32_t)input_byte(in) << 8 | (state < 230 ? state % SLAB_N_STATES : state);
}

static void read_as_control(struct daemon *d, struct input *in)
{
    static unsigned char memory[1 << 20];
    struct wire_arena arena = {.bytes = memory, .capacity = sizeof(memory)};
    static unsigned char packet[CONN_REPLY_MAX_BYTES];
    Hakmem__Reply reply = HAKMEM__REPLY__INIT, *read;
    size_t n_bytes;
    uint8_t choice = input_byte(in) % 4;
    reclaim_look(&d->core.reclaim, choice == 3);
    switch (choice) {
    case 0:
        control_stats(&d->core.control, &d->handler->reply_memory, &reply);
        break;
    case 1:
        check_or_trap(control_clients(&d->core.control, 0, &d->handler->reply_memory, &reply) == 0);
        break;
    case 2:
        check_or_trap(control_clients(&d->core.control, (uint32_t)getpid(),
                                      &d->handler->reply_memory, &reply) == 0);
        break;
    default:
        control_trim(&d->core.control, &d->handler->reply_memory, &reply);
        break;
    }
    check_or_trap(wire_pack_reply(&reply, packet, sizeof(packet), &n_bytes) == 0);
    check_or_trap(wire_unpack_reply(&arena, packet, n_bytes, &read) == 0);
}

static void step_once(struct daemon *d, struct scribbler *s, uint8_t choice, struct input *in)
{
    struct client_usage usage = {0};
    switch (choice % 10) {
    case 0:
        lease(d, s, 1 + input_byte(in) % 8);
        break;
    case 1:
    case 2:
        scribble(s, in);
        break;
    case 3:
    case 4:
    case 5:
        write_word(s, in);
        break;
    case 6:
        reclaim_scan_client(&d->core.reclaim, s->peer.client, 0);
        break;
    case 7:
        client_add_usage(s->peer.client, &usage);
        check_or_trap(usage.active_bytes + usage.idle_bytes + usage.reclaimed_bytes +
                          usage.pinned_bytes ==
                      s->peer.client->leased_bytes);
        read_as_control(d, in);
        break;
    case 8:
        lease_return(&d->core.leases, s->peer.client, s->ids[input_byte(in) % N_EXTENTS]);
        break;
    default:
        daemon_turn(d);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    struct input in = {.bytes = bytes, .n_left = n_bytes};
    struct scribbler scribblers[N_CLIENTS] = {0};
    struct daemon *d = daemon_begin();

    for (unsigned i = 0; i < N_CLIENTS; i++) {
        join(d, &scribblers[i], 1000 + i);
        lease(d, &scribblers[i], 3);
    }
    for (int step = 0; in.n_left > 0 && step < MAX_STEPS; step++) {
        uint8_t choice = input_byte(&in);
        step_once(d, &scribblers[choice >> 7], choice & 0x7f, &in);
        daemon_check(d);
    }
    for (unsigned i = 0; i < N_CLIENTS; i++)
        daemon_end_peer(d, &scribblers[i].peer);
    daemon_finish(d);
    return 0;
}
