/*
 * What goes over all of a client's extents, or all clients, goes in slices: figures, a trim, the
 * end of a client. Whoever asked is answered when all has been seen.
 */
#include "fixture.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "hakmemd/peer.h"
#include "hakmemd/request.h"
#include "hakmemd/turn.h"

/* Far more than can be looked at in a turn; a descriptor each. */
#define N_EXTENTS 8000u
#define N_IDLE    100u

struct scene {
    struct fixture *f;
    struct request_handler *handler;
    struct peers peers;
    struct fixture_client c;
};

static void change(uint32_t *slot, enum slab_state to)
{
    assert_true(ledger_slab_change(slot, ledger_slot_read(slot), LEDGER_CLIENT, to));
}

/* A client of N_EXTENTS, of which N_IDLE are idle. */
static int setup(void **state)
{
    static const struct peer_settings settings = {.unread_timeout_ms = 60000};
    struct scene *s = calloc(1, sizeof(*s));
    struct rlimit limit;
    struct lease_grant grant[CONN_MAX_FDS];
    size_t n;
    *state = s;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max < N_EXTENTS + 100 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0; /* the tests are skipped */
    s->f = fixture_new(0, 0, 0, 3600000);
    s->f->stats.fd_limit = limit.rlim_max;
    quota_set(&s->f->quota, "bytes_per_user", N_EXTENTS * SUPERSLAB_BYTES, NULL);
    quota_set(&s->f->quota, "bytes_per_client", N_EXTENTS * SUPERSLAB_BYTES, NULL);
    s->c = fixture_client_new(s->f, 1);
    for (uint32_t i = 0; i < N_EXTENTS; i++) {
        assert_int_equal(lease_grant(&s->f->leases, s->c.client, 1, 1, 1, grant, &n), 0);
        close(grant[0].fd);
        change(&s->c.ledger->slots[grant[0].extent->first_slot], SLAB_ACTIVE);
        if (i % (N_EXTENTS / N_IDLE) == 0)
            change(&s->c.ledger->slots[grant[0].extent->first_slot], SLAB_IDLE);
    }
    assert_non_null(client_ledger(s->c.client));
    assert_int_equal(request_handler_new(&s->f->control, &s->handler), 0);
    peers_init(&s->peers, &settings, s->f->base, s->handler, &s->f->quota, &s->f->leases,
               &s->f->stats);
    return 0;
}

static int teardown(void **state)
{
    struct scene *s = *state;
    if (s->f) {
        peers_disconnect_all(&s->peers);
        if (s->c.client)
            fixture_client_end(s->f, &s->c);
        fixture_wait(s->f, s->f->stats.leased_bytes == 0);
        request_handler_free(s->handler);
        fixture_free(s->f);
    }
    free(s);
    return 0;
}

/* A connection that has sent this request. */
static int ask(struct scene *s, const Hakmem__Request *request)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                     0);
    assert_int_equal(wire_pack_request(request, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(conn_send(ends[0], packet, n_bytes, NULL, 0), 0);
    peer_accept(&s->peers, ends[1]);
    return ends[0];
}

static int ask_for_stats(struct scene *s)
{
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    return ask(s, &request);
}

/* The answer, or NULL: there is none yet. Valid until the next one. */
static const Hakmem__Reply *answer(int fd)
{
    static unsigned char packet[CONN_REPLY_MAX_BYTES], memory[1 << 20];
    struct wire_arena arena = {.bytes = memory, .capacity = sizeof(memory)};
    int fds[CONN_MAX_FDS];
    size_t n_bytes, n_fds;
    Hakmem__Reply *reply;
    int r = conn_recv(fd, packet, sizeof(packet), &n_bytes, fds, &n_fds);
    if (r == -EAGAIN)
        return NULL;
    assert_int_equal(r, 0);
    assert_int_equal(wire_unpack_reply(&arena, packet, n_bytes, &reply), 0);
    return reply;
}

static void test_figures(void **state)
{
    struct scene *s = *state;
    const Hakmem__Reply *reply = NULL;
    if (!s->f)
        skip();
    int first = ask_for_stats(s), second = ask_for_stats(s), gone = ask_for_stats(s);
    /* Outside of the loop there is time for all of it, and so they have been answered. */
    assert_non_null(answer(first));
    close(first);
    assert_non_null(answer(second));
    assert_non_null(answer(gone));
    Hakmem__Request request = HAKMEM__REQUEST__INIT;
    Hakmem__StatsQuery query = HAKMEM__STATS_QUERY__INIT;
    unsigned char packet[64];
    size_t n_bytes;
    request.body_case = HAKMEM__REQUEST__BODY_STATS;
    request.stats = &query;
    assert_int_equal(wire_pack_request(&request, packet, sizeof(packet), &n_bytes), 0);
    assert_int_equal(conn_send(second, packet, n_bytes, NULL, 0), 0);
    assert_int_equal(conn_send(gone, packet, n_bytes, NULL, 0), 0);
    /* In it there is not; one that leaves meanwhile is forgotten. */
    fixture_wait(s->f, !list_is_empty(&s->peers.looking));
    assert_null(answer(second));
    close(gone);
    fixture_wait(s->f, (reply = answer(second)) != NULL);
    assert_int_equal(reply->body_case, HAKMEM__REPLY__BODY_STATS);
    assert_int_equal(reply->stats->active_bytes, (N_EXTENTS - N_IDLE) * SUPERSLAB_BYTES);
    assert_int_equal(reply->stats->idle_bytes, N_IDLE * SUPERSLAB_BYTES);
    fixture_wait(s->f, s->f->stats.n_peers == 1);
    assert_true(list_is_empty(&s->peers.looking));
    /* Not seen before it was asked. */
    change(&s->c.ledger->slots[1], SLAB_IDLE);
    assert_int_equal(conn_send(second, packet, n_bytes, NULL, 0), 0);
    fixture_wait(s->f, (reply = answer(second)) != NULL);
    assert_int_equal(reply->stats->idle_bytes, (N_IDLE + 1) * SUPERSLAB_BYTES);
    close(second);
}

static void test_trim(void **state)
{
    struct scene *s = *state;
    if (!s->f)
        skip();
    turn_begin();
    unsigned round = reclaim_look(&s->f->reclaim, true);
    turn_end();
    assert_false(reclaim_has_looked(&s->f->reclaim, round));
    /* Somebody else asks meanwhile, who wants what is so from then on. */
    unsigned next = reclaim_look(&s->f->reclaim, false);
    assert_true(reclaim_has_looked(&s->f->reclaim, next) && next != round);
    assert_int_equal(s->f->reclaim.figures.handed_over_bytes, N_IDLE * SUPERSLAB_BYTES);
    assert_int_equal(s->f->reclaim.figures.usage.reclaimed_bytes, N_IDLE * SUPERSLAB_BYTES);
    fixture_wait(s->f, s->f->stats.reclaimed_bytes_total == N_IDLE * SUPERSLAB_BYTES);
}

static void on_quiet(struct client *client)
{
    lease_end(client->on_quiet_data, client);
}

static void test_end(void **state)
{
    struct scene *s = *state;
    if (!s->f)
        skip();
    struct quota_user *user;
    assert_int_equal(quota_user_ref(&s->f->quota, 1, &user), 0);
    munmap(s->c.ledger, s->c.ledger_bytes);
    s->c.client->on_quiet_data = &s->f->leases;
    turn_begin();
    client_end(s->c.client, on_quiet);
    turn_end();
    s->c.client = NULL;
    assert_int_equal(s->f->leases.n_clients, 0);
    assert_false(list_is_empty(&s->f->leases.ended));
    assert_int_equal(user->used[QUOTA_CLIENTS], 1);
    /* Nobody finds it any more, and all of it goes on. */
    unsigned round = reclaim_look(&s->f->reclaim, true);
    assert_true(reclaim_has_looked(&s->f->reclaim, round));
    assert_int_equal(s->f->reclaim.figures.handed_over_bytes, 0);
    fixture_wait(s->f, s->f->stats.leased_bytes == 0);
    assert_int_equal(user->used[QUOTA_CLIENTS], 0);
    fixture_wait(s->f, user->used[QUOTA_BYTES] == 0);
    quota_user_unref(user);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_figures),
        TEST(test_trim),
        TEST(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
