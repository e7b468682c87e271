/* The link with a daemon that is broken or hostile: nothing of what it sends is taken, nothing
 * leaks. */
#include "fake-daemon.h"

/* ---- tests: a broken or hostile daemon ---- */

static void spoil_version(struct grant_spec *spec)
{
    spec->version = 2;
}
static void spoil_version_zero(struct grant_spec *spec)
{
    spec->version = 0;
}
static void spoil_magic(struct grant_spec *spec)
{
    spec->magic++;
}
static void spoil_abi(struct grant_spec *spec)
{
    spec->abi_version++;
}
static void spoil_slots_differ(struct grant_spec *spec)
{
    spec->n_slots--;
}
static void spoil_ledger_short(struct grant_spec *spec)
{
    spec->ledger_real_bytes = 4096 - 1;
    spec->ledger_slots = spec->n_slots = 4096;
}
static void spoil_ledger_empty(struct grant_spec *spec)
{
    spec->ledger_slots = spec->n_slots = 0;
    spec->n_extents = 0;
}
static void spoil_ledger_huge(struct grant_spec *spec)
{
    spec->ledger_slots = spec->n_slots = UINT32_MAX;
    spec->ledger_real_bytes = ledger_bytes(UINT32_MAX);
}
static void spoil_ledger_unsealed(struct grant_spec *spec)
{
    spec->ledger_seals = 0;
}
static void spoil_ledger_read_only(struct grant_spec *spec)
{
    spec->ledger_seals |= F_SEAL_FUTURE_WRITE;
}
static void spoil_ledger_pipe(struct grant_spec *spec)
{
    spec->ledger_is_pipe = true;
}
static void spoil_ledger_alone(struct grant_spec *spec)
{
    spec->n_fds_missing = spec->n_extents;
}
static void spoil_missing_fd(struct grant_spec *spec)
{
    spec->n_fds_missing = 1;
}
static void spoil_extra_fd(struct grant_spec *spec)
{
    spec->n_fds_extra = 1;
}
static void spoil_unsealed(struct grant_spec *spec)
{
    spec->extents[1].seals = F_SEAL_GROW;
}
static void spoil_short(struct grant_spec *spec)
{
    spec->extents[1].real_bytes -= 4096;
}
static void spoil_long(struct grant_spec *spec)
{
    spec->extents[0].real_bytes += 4096;
}
static void spoil_slot(struct grant_spec *spec)
{
    spec->extents[1].first_slot = N_SLOTS - 1;
}
static void spoil_slot_wraps(struct grant_spec *spec)
{
    spec->extents[1].first_slot = UINT32_MAX;
}
static void spoil_slots_overlap(struct grant_spec *spec)
{
    spec->extents[1].first_slot = spec->extents[0].first_slot + 1;
}
static void spoil_same_id(struct grant_spec *spec)
{
    spec->extents[1].id = spec->extents[0].id;
}
static void spoil_three_slabs(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 3;
    spec->extents[0].real_bytes = 3 * SUPERSLAB_BYTES;
}
static void spoil_no_slabs(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 0;
    spec->extents[0].huge_slabs = 0;
    spec->extents[0].real_bytes = 0;
}
static void spoil_many_slabs(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 32;
    spec->extents[0].real_bytes = 32 * SUPERSLAB_BYTES;
}
static void spoil_huge_slabs(struct grant_spec *spec)
{
    spec->extents[0].huge_slabs = 3;
}
static void spoil_id(struct grant_spec *spec)
{
    spec->id_offset = 1;
}
static void spoil_id_behind(struct grant_spec *spec)
{
    spec->id_offset = UINT64_MAX;
}
static void spoil_short_run(struct grant_spec *spec)
{
    spec->extents[0].n_slabs = 1;
    spec->extents[0].real_bytes = SUPERSLAB_BYTES;
}
static void spoil_nothing_granted(struct grant_spec *spec)
{
    spec->n_extents = 0;
}

struct spoiler {
    void (*spoil)(struct grant_spec *spec);
    bool in_hello;
    bool in_lease;
};

static const struct spoiler spoilers[] = {
    {spoil_version, true, false},
    {spoil_version_zero, true, false},
    {spoil_magic, true, false},
    {spoil_abi, true, false},
    {spoil_slots_differ, true, false},
    {spoil_ledger_short, true, false},
    {spoil_ledger_empty, true, false},
    {spoil_ledger_huge, true, false},
    {spoil_ledger_unsealed, true, false},
    {spoil_ledger_read_only, true, false},
    {spoil_ledger_pipe, true, false},
    {spoil_ledger_alone, true, false},
    {spoil_missing_fd, true, true},
    {spoil_extra_fd, true, true},
    {spoil_unsealed, true, true},
    {spoil_short, true, true},
    {spoil_long, true, true},
    {spoil_slot, true, true},
    {spoil_slot_wraps, true, true},
    {spoil_slots_overlap, true, true},
    {spoil_same_id, true, true},
    {spoil_three_slabs, true, true},
    {spoil_no_slabs, true, true},
    {spoil_many_slabs, true, true},
    {spoil_huge_slabs, true, true},
    {spoil_id, true, true},
    {spoil_id_behind, true, true},
    {spoil_short_run, false, true},
    {spoil_nothing_granted, false, true},
};
#define N_SPOILERS (sizeof(spoilers) / sizeof(spoilers[0]))

/* The link dropped the connection, kept nothing of what came, and backs off. */
static void expect_dropped(struct fake *fake, bool was_connected)
{
    assert_int_equal(collect(), LINK_ABSENT);
    assert_int_equal(n_extents, 0);
    assert_null(link_ledger());
    assert_int_equal(link_descriptor(), -1);
    assert_int_equal(link_counters()->losses, was_connected);
    assert_int_equal(link_counters()->connect_fails, !was_connected);
    uint64_t syscalls = link_counters()->syscalls;
    assert_int_equal(lease(2, 1, true), LINK_ABSENT);
    assert_int_equal(link_counters()->syscalls, syscalls);
    fake_expect_hang_up(fake);
    fake_hang_up(fake);
}

static void spoiled_hello(struct fake *fake, const struct spoiler *spoiler)
{
    struct grant_spec spec = grant_good(2);
    link_init(fake->path, true, WAIT_US);
    spoiler->spoil(&spec);
    assert_int_equal(lease(4, 1, false), LINK_PENDING);
    fake_accept(fake);
    fake_grant(fake, fake_read(fake)->id, true, &spec);
    expect_dropped(fake, false);
}

static void spoiled_lease(struct fake *fake, const struct spoiler *spoiler)
{
    struct grant_spec spec = grant_good(2);
    link_init(fake->path, true, WAIT_US);
    connect_good(fake);
    spoiler->spoil(&spec);
    assert_int_equal(lease(4, 2, false), LINK_PENDING);
    fake_grant(fake, fake_read(fake)->id, false, &spec);
    expect_dropped(fake, true);
}

static void test_spoiled_grants(void **state)
{
    struct fake *fake = *state;
    int before = open_descriptors();
    for (int round = 0; round < LEAK_ROUNDS; round++) {
        for (size_t i = 0; i < N_SPOILERS; i++) {
            if (spoilers[i].in_hello)
                spoiled_hello(fake, &spoilers[i]);
            if (spoilers[i].in_lease)
                spoiled_lease(fake, &spoilers[i]);
        }
    }
    assert_int_equal(open_descriptors(), before);
    link_init(fake->path, true, WAIT_US);
    connect_good(fake); /* and a good one is still accepted */
}

/* Sends what is no answer to request `id`, which is a Lease (kinds 0 to 6) or does not exist. */
static void send_wrong_reply(struct fake *fake, int kind, uint64_t id)
{
    struct grant_spec spec = grant_good(1);
    Hakmem__Reply reply = HAKMEM__REPLY__INIT;
    Hakmem__Error error = HAKMEM__ERROR__INIT;
    Hakmem__ReturnReply body = HAKMEM__RETURN_REPLY__INIT;
    int fd;

    reply.id = id;
    switch (kind) {
    case 0: /* a second Hello reply */
        fake_grant(fake, id, true, &spec);
        break;
    case 1: /* a Return's reply to a Lease */
        fake_accept_return(fake, id, 1);
        break;
    case 2: /* an error that says the connection is over */
        fake_refuse(fake, id, HAKMEM__ERROR_CODE__ERROR_STATE);
        break;
    case 3: /* an error that carries a descriptor */
        fd = memfd_new(SUPERSLAB_BYTES, SEALS_ALL);
        error.code = HAKMEM__ERROR_CODE__ERROR_QUOTA;
        reply.body_case = HAKMEM__REPLY__BODY_ERROR;
        reply.error = &error;
        fake_send(fake, &reply, &fd, 1);
        break;
    case 4: /* no body */
        fake_send(fake, &reply, NULL, 0);
        break;
    case 5: /* out of order: before the reply to the Return sent earlier */
        fake_grant(fake, id, false, &spec);
        break;
    case 6: /* the Return's reply, with a descriptor */
        fd = memfd_new(SUPERSLAB_BYTES, SEALS_ALL);
        reply.id = id - 1;
        reply.body_case = HAKMEM__REPLY__BODY_RETURN_EXTENTS;
        reply.return_extents = &body;
        fake_send(fake, &reply, &fd, 1);
        break;
    case 7: /* nobody asked */
        fake_accept_return(fake, id, 1);
        break;
    case 8:
        fake_grant(fake, id, false, &spec);
        break;
    }
}

static void test_wrong_kinds_of_reply(void **state)
{
    struct fake *fake = *state;
    for (int kind = 0; kind < 9; kind++) {
        uint64_t id = 2, returned = 1;
        link_init(fake->path, true, WAIT_US);
        connect_good(fake);
        if (kind == 5 || kind == 6) {
            link_return(&returned, 1);
            (void)fake_read(fake);
        }
        if (kind < 7) {
            assert_int_equal(lease(2, 1, false), LINK_PENDING);
            id = fake_read(fake)->id;
        }
        send_wrong_reply(fake, kind, id);
        expect_dropped(fake, true);
    }
}

/* Noise, cut-off replies, packets too big, each with a descriptor: none may crash, hang, or leak.
 */
static void test_garbage(void **state)
{
    struct fake *fake = *state;
    static unsigned char packet[CONN_REPLY_MAX_BYTES + 1];
    unsigned seed = 42;
    int before = open_descriptors();
    for (int round = 0; round < 200; round++) {
        bool was_connected = round % 2;
        size_t n_bytes = round < 190 ? 1 + (size_t)rand_r(&seed) % 300 : CONN_REPLY_MAX_BYTES + 1;
        for (size_t i = 0; i < n_bytes; i++)
            packet[i] = (unsigned char)rand_r(&seed);
        if (round % 3 == 0) {
            /* A real reply, cut short or with one byte changed so that its length is wrong. */
            Hakmem__Reply reply = HAKMEM__REPLY__INIT;
            Hakmem__Error error = HAKMEM__ERROR__INIT;
            error.message = "a message long enough to be cut at many places";
            reply.id = was_connected ? 2 : 1;
            reply.body_case = HAKMEM__REPLY__BODY_ERROR;
            reply.error = &error;
            assert_int_equal(wire_pack_reply(&reply, packet, sizeof(packet), &n_bytes), 0);
            n_bytes -= 1 + (size_t)round % (n_bytes - 3);
        }
        link_init(fake->path, true, WAIT_US);
        if (was_connected)
            connect_good(fake);
        assert_int_equal(lease(2, 1, false), LINK_PENDING);
        if (!was_connected)
            fake_accept(fake);
        int fd = memfd_new(4096, 0);
        assert_int_equal(conn_send(fake->peer, packet, n_bytes, &fd, 1), 0);
        close(fd);
        expect_dropped(fake, was_connected);
    }
    assert_int_equal(open_descriptors(), before);
}

/* Many small fields expand to more memory than the arena has: refused, not overrun. */
static void test_reply_that_expands(void **state)
{
    struct fake *fake = *state;
    static unsigned char packet[60000];
    size_t n = 0;
    connect_good(fake);
    assert_int_equal(lease(2, 1, false), LINK_PENDING);
    packet[n++] = 1 << 3; /* Reply.id = 2 */
    packet[n++] = 2;
    packet[n++] = 4 << 3 | 2; /* Reply.lease, of all the bytes that follow */
    size_t left = sizeof(packet) - n - 3;
    left -= left % 2;
    packet[n++] = (unsigned char)(left | 0x80);
    packet[n++] = (unsigned char)(left >> 7 | 0x80);
    packet[n++] = (unsigned char)(left >> 14);
    for (size_t i = 0; i < left; i += 2) {
        packet[n++] = 1 << 3 | 2; /* LeaseReply.extents, empty */
        packet[n++] = 0;
    }
    assert_int_equal(conn_send(fake->peer, packet, n, NULL, 0), 0);
    expect_dropped(fake, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_spoiled_grants),
        TEST(test_wrong_kinds_of_reply),
        TEST(test_garbage),
        TEST(test_reply_that_expands),
    };
    return cmocka_run_group_tests_name("link-hostile", tests, NULL, NULL);
}
