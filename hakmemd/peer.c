/*
 * See peer.h. Longer than other files: reading, answering and waiting are one state, and whatever
 * ends a peer has to undo all of it.
 */
#include "hakmemd/peer.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hakmemd/clock.h"
#include "hakmemd/peerid.h"
#include "hakmemd/turn.h"

/* What is on its way to a user's peers is looked through at most so often: each look is a system
 * call for each of them. */
#define SWEEP_INTERVAL_MS 10

/* A program that is gone by then needs no pidfd: to make one, to watch it and to drop it is half of
 * what a connection costs. */
#define YOUNG_MS        500
#define GROWN_UP_A_TURN 32

/* While the kernel counts too many descriptors of ours on their way. */
#define SEND_RETRY_MS 20

enum peer_waits {
    WAITS_FOR_NOTHING,
    WAITS_TO_READ,
    WAITS_TO_WRITE,
    WAITS_HELD,
    WAITS_TO_BE_READ, /* held, too, but not for ever */
    WAITS_FOR_LOOK,
    WAITS_THROTTLED,
    WAITS_TO_SEND_FDS
};

struct peer {
    struct list link; /* peers.list */
    struct peers *peers;
    int socket;
    int pidfd; /* -1: not there yet, or not to be had */
    uint64_t accepted_ms;
    struct list young_link; /* peers.young */
    bool has_answers;       /* it has been sent something, which may be unread */
    bool is_bounded;        /* what it may leave unread: from the second answer on */
    struct request_peer who;
    struct quota_charge connection; /* its user is the peer's, too */
    struct quota_charge fd_charge;  /* for the socket */
    struct quota_charge in_flight;  /* QUOTA_DESCRIPTORS: sent, and not seen to be taken */
    struct list in_flight_link;     /* quota_user.in_flight, while that is charged */
    enum peer_waits waits;
    struct event read_event;
    struct event write_event;
    struct event read_by_peer_event; /* edge-triggered: the peer took something off its queue */
    struct event exit_event;
    struct event throttle_event;

    struct quota_rate rate;

    unsigned look;            /* the round that its request waits for, or 0 */
    struct list looking_link; /* peers.looking */
    unsigned char *held;      /* a request that waits its turn, or NULL */
    size_t n_held_bytes;

    unsigned char *answer; /* an answer that could not be sent yet, or NULL */
    size_t n_answer_bytes;
    int answer_fds[CONN_MAX_FDS];
    size_t n_answer_fds;
    bool disconnect_after;
};

static void run(struct peer *peer);

/* ---- descriptors in flight ---- */

/* Nothing is in flight to it any more. */
static void land(struct peer *peer)
{
    list_remove(&peer->in_flight_link);
    quota_discharge(&peer->in_flight);
}

/* Discharges what the user's peers have taken meanwhile: nobody tells us when they do. */
static void sweep_in_flight(struct quota_user *user)
{
    uint64_t now_ms = clock_now_ms();
    if (now_ms < user->swept_ms + SWEEP_INTERVAL_MS)
        return;
    user->swept_ms = now_ms;
    list_for_each_safe(it, &user->in_flight)
    {
        struct peer *peer = list_entry(it, struct peer, in_flight_link);
        if (!peer->answer && conn_unread_bytes(peer->socket) <= 0)
            land(peer);
    }
}

/*
 * Charges for the descriptors that the next answer may bring, which may be fewer than it could use;
 * false: there is room for none. The answer before has been taken.
 */
static bool take_off(struct peer *peer)
{
    struct quota_user *user = peer->connection.user;
    land(peer);
    uint64_t n = quota_room(user, QUOTA_DESCRIPTORS);
    if (n < CONN_MAX_FDS) {
        sweep_in_flight(user);
        n = quota_room(user, QUOTA_DESCRIPTORS);
    }
    if (n > CONN_MAX_FDS)
        n = CONN_MAX_FDS;
    if (n == 0 || quota_charge(&peer->in_flight, user, QUOTA_DESCRIPTORS, n) != 0)
        return false;
    list_push_back(&user->in_flight, &peer->in_flight_link);
    peer->who.max_fds = (size_t)n;
    return true;
}

/* ---- the end of a peer ---- */

static void peer_free(struct peer *peer)
{
    list_remove(&peer->link);
    list_remove(&peer->young_link);
    list_remove(&peer->looking_link);
    land(peer);
    quota_discharge(&peer->fd_charge);
    quota_discharge(&peer->connection);
    conn_close_fds(peer->answer_fds, peer->n_answer_fds);
    free(peer->answer);
    free(peer->held);
    if (peer->socket >= 0)
        close(peer->socket);
    if (peer->pidfd >= 0) {
        close(peer->pidfd);
        peer->peers->stats->n_pidfds--;
    }
    peer->peers->stats->n_peers--;
    free(peer);
}

static void on_quiet(struct client *client)
{
    struct peer *peer = client->on_quiet_data;
    peer->who.client = NULL;
    lease_end(peer->peers->leases, client);
    peer_free(peer);
}

/* Frees the peer, now or when its punches are over: it must not be touched afterwards. */
static void disconnect(struct peer *peer)
{
    event_del(&peer->read_event);
    event_del(&peer->write_event);
    event_del(&peer->read_by_peer_event);
    event_del(&peer->throttle_event);
    list_remove(&peer->young_link);
    list_remove(&peer->looking_link);
    if (peer->pidfd >= 0)
        event_del(&peer->exit_event);
    if (!peer->who.client) {
        peer_free(peer);
        return;
    }
    peer->who.client->on_quiet_data = peer;
    client_end(peer->who.client, on_quiet);
}

static void note_misbehaviour(struct peer *peer, const char *what)
{
    uint64_t n_suppressed;
    peer->peers->stats->protocol_errors_total++;
    if (log_limit_pass(&peer->peers->misbehaviour, &n_suppressed))
        log_warning(&(struct log_subject){.pid = peer->who.pid, .uid = peer->who.uid},
                    "protocol error: %s (%llu more not shown)", what,
                    (unsigned long long)n_suppressed);
}

/* ---- how fast it asks ---- */

static struct quota_limits limits_of(const struct peer *peer)
{
    return quota_user_limits(peer->connection.user);
}

/* Nanoseconds until the next request of it may be read: for its own rate and for its user's. */
static uint64_t rate_wait_ns(const struct peer *peer)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t own_ns = quota_rate_wait_ns(&peer->rate, now_ns);
    uint64_t user_ns = quota_rate_wait_ns(&peer->connection.user->rate, now_ns);
    return own_ns > user_ns ? own_ns : user_ns;
}

static void note_request(struct peer *peer)
{
    struct quota_limits limits = limits_of(peer);
    uint64_t now_ns = clock_now_ns();
    quota_rate_debit(&peer->rate, limits.requests_per_second, now_ns);
    quota_rate_debit(&peer->connection.user->rate, limits.requests_per_user, now_ns);
}

/* ---- what a peer waits for ---- */

static void wait_for(struct peer *peer, enum peer_waits waits)
{
    if (peer->waits == waits)
        return;
    event_del(&peer->read_event);
    event_del(&peer->write_event);
    event_del(&peer->read_by_peer_event);
    event_del(&peer->throttle_event);
    peer->waits = waits;
    struct timeval timeout;
    int r = 0;
    switch (waits) {
    case WAITS_TO_READ:
        r = event_add(&peer->read_event, NULL);
        break;
    case WAITS_TO_WRITE:
        timeout = clock_timeval(peer->peers->settings.unread_timeout_ms);
        r = event_add(&peer->write_event, &timeout);
        break;
    case WAITS_HELD:
        r = event_add(&peer->read_by_peer_event, NULL);
        break;
    case WAITS_TO_BE_READ:
        timeout = clock_timeval(peer->peers->settings.unread_timeout_ms);
        r = event_add(&peer->read_by_peer_event, &timeout);
        break;
    case WAITS_THROTTLED:
        timeout = clock_timeval(rate_wait_ns(peer) / 1000000 + 1);
        r = event_add(&peer->throttle_event, &timeout);
        break;
    case WAITS_TO_SEND_FDS:
        timeout = clock_timeval(SEND_RETRY_MS);
        r = event_add(&peer->throttle_event, &timeout);
        break;
    default:
        break;
    }
    if (r < 0) /* out of memory; shut down, so that exit_event or the peer's own end gets it */
        shutdown(peer->socket, SHUT_RDWR);
}

/* ---- answers ---- */

/* What a step of run() comes to. */
enum step { STEP_ON, STEP_WAIT, STEP_GONE };

static enum step drop(struct peer *peer)
{
    disconnect(peer);
    return STEP_GONE;
}

static enum step answer_was_sent(struct peer *peer, bool disconnect_after)
{
    return disconnect_after ? drop(peer) : STEP_ON;
}

/* Its own socket is full, or all of ours together hold too many descriptors that nobody has read.
 */
static bool must_wait(int r)
{
    return r == -EAGAIN || r == -ETOOMANYREFS;
}

/* For an answer that is kept: those who lent descriptors to it may close them meanwhile. */
static bool own_lent_fds(struct request_answer *answer)
{
    while (answer->n_lent_fds > 0) {
        int fd = fcntl(answer->fds[answer->n_lent_fds - 1], F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return false;
        answer->fds[--answer->n_lent_fds] = fd;
    }
    return true;
}

/* What it leaves unread is the kernel's memory, at our cost: no more than the largest answer needs.
 * (The kernel doubles what it is told.) */
static void bound_unread(struct peer *peer)
{
    const int n_bytes = CONN_REPLY_MAX_BYTES / 2 + 4096;
    (void)setsockopt(peer->socket, SOL_SOCKET, SO_SNDBUF, &n_bytes, sizeof(n_bytes));
    peer->is_bounded = true;
}

/* Sends the answer, or keeps it to be sent later. Takes its descriptors. */
static enum step send_answer(struct peer *peer, struct request_answer *answer)
{
    if (answer->is_protocol_error)
        note_misbehaviour(peer, "malformed or out of order");
    /* One answer is no more than that by itself, and many a program asks for no second. */
    if (peer->has_answers && !peer->is_bounded)
        bound_unread(peer);
    int r = answer->n_bytes == 0 ? 0
                                 : conn_send(peer->socket, answer->packet, answer->n_bytes,
                                             answer->fds, answer->n_fds);
    peer->has_answers = true;
    if (!must_wait(r)) {
        request_close_fds(answer);
        return r < 0 ? drop(peer) : answer_was_sent(peer, answer->disconnect);
    }
    peer->answer = own_lent_fds(answer) ? malloc(answer->n_bytes) : NULL;
    if (!peer->answer) {
        request_close_fds(answer);
        return drop(peer);
    }
    memcpy(peer->answer, answer->packet, answer->n_bytes);
    peer->n_answer_bytes = answer->n_bytes;
    memcpy(peer->answer_fds, answer->fds, answer->n_fds * sizeof(int));
    peer->n_answer_fds = answer->n_fds;
    peer->disconnect_after = answer->disconnect;
    wait_for(peer, r == -EAGAIN ? WAITS_TO_WRITE : WAITS_TO_SEND_FDS);
    return STEP_WAIT;
}

static enum step send_kept_answer(struct peer *peer)
{
    int r = conn_send(peer->socket, peer->answer, peer->n_answer_bytes, peer->answer_fds,
                      peer->n_answer_fds);
    if (must_wait(r)) {
        wait_for(peer, r == -EAGAIN ? WAITS_TO_WRITE : WAITS_TO_SEND_FDS);
        return STEP_WAIT;
    }
    conn_close_fds(peer->answer_fds, peer->n_answer_fds);
    peer->n_answer_fds = 0;
    free(peer->answer);
    peer->answer = NULL;
    return r < 0 ? drop(peer) : answer_was_sent(peer, peer->disconnect_after);
}

/* ---- requests ---- */

static enum step hold(struct peer *peer, const unsigned char *packet, size_t n_bytes,
                      enum peer_waits waits)
{
    if (!peer->held) {
        peer->held = malloc(n_bytes);
        if (!peer->held)
            return drop(peer);
        memcpy(peer->held, packet, n_bytes);
        peer->n_held_bytes = n_bytes;
    }
    wait_for(peer, waits);
    return STEP_WAIT;
}

/* A round is over: those that waited for it, go on. They are many at most if many ask. */
static void on_round(void *data)
{
    struct peers *peers = data;
    list_for_each_safe(it, &peers->looking)
    {
        struct peer *peer = list_entry(it, struct peer, looking_link);
        if (!request_is_ready(peers->handler, peer->look))
            continue;
        list_remove(&peer->looking_link);
        event_active(&peer->throttle_event, EV_TIMEOUT, 0);
    }
}

/* Has what there is to see for its answer been seen? If not, it is waited for. */
static bool has_looked(struct peer *peer, const Hakmem__Request *request)
{
    struct peers *peers = peer->peers;
    if (peer->look == 0)
        peer->look = request_begin(peers->handler, &peer->who, request);
    if (peer->look != 0 && !request_is_ready(peers->handler, peer->look)) {
        list_push_back(&peers->looking, &peer->looking_link);
        return false;
    }
    peer->look = 0;
    return true;
}

static enum step serve(struct peer *peer, const unsigned char *packet, size_t n_bytes)
{
    struct request_handler *handler = peer->peers->handler;
    const Hakmem__Request *request = request_parse(handler, packet, n_bytes);
    struct request_answer *answer;
    bool brings_fds = request && request_may_send_fds(request);
    bool comes_alone = brings_fds || (request && request_answer_is_large(request));
    if (comes_alone && peer->has_answers && conn_unread_bytes(peer->socket) > 0)
        return hold(peer, packet, n_bytes, brings_fds ? WAITS_HELD : WAITS_TO_BE_READ);
    if (request && !has_looked(peer, request))
        return hold(peer, packet, n_bytes, WAITS_FOR_LOOK);
    if (brings_fds && !take_off(peer)) {
        answer = request_refuse_fds(handler, &peer->who, request);
    } else {
        if (peer->peers->has_cgroup_ids && request_wants_cgroup_id(handler, &peer->who, request))
            peer->who.cgroup_id = peerid_cgroup(peer->socket);
        answer = request_serve(handler, &peer->who, request);
        if (brings_fds && answer->n_fds > 0)
            quota_charge_lower(&peer->in_flight, answer->n_fds);
        else if (brings_fds)
            land(peer);
    }
    free(peer->held);
    peer->held = NULL;
    return send_answer(peer, answer);
}

static enum step receive(struct peer *peer)
{
    unsigned char packet[CONN_REQUEST_MAX_BYTES];
    size_t n_bytes, n_fds;
    int fds[CONN_MAX_FDS];

    if (rate_wait_ns(peer) > 0) {
        peer->peers->stats->throttled_total++;
        wait_for(peer, WAITS_THROTTLED);
        return STEP_WAIT;
    }
    int r = conn_recv(peer->socket, packet, sizeof(packet), &n_bytes, fds, &n_fds);
    if (r == -EAGAIN) {
        wait_for(peer, WAITS_TO_READ);
        return STEP_WAIT;
    }
    if (r == -EMSGSIZE)
        note_misbehaviour(peer, "a packet or its descriptors are too many");
    if (r != 0)
        return drop(peer);
    note_request(peer);
    if (n_fds > 0) {
        conn_close_fds(fds, n_fds);
        note_misbehaviour(peer, "it sent descriptors");
        return drop(peer);
    }
    return serve(peer, packet, n_bytes);
}

/* One step, and then the others get their turn: what else is there comes at once, since the event
 * is level-triggered, and mostly there is nothing, which would take a call to learn. */
static void run(struct peer *peer)
{
    enum step step;
    if (peer->answer)
        step = send_kept_answer(peer);
    else if (peer->held)
        step = serve(peer, peer->held, peer->n_held_bytes);
    else
        step = receive(peer);
    if (step == STEP_ON)
        wait_for(peer, WAITS_TO_READ);
}

static void go_on(struct peer *peer, short what)
{
    if ((peer->waits == WAITS_TO_WRITE || peer->waits == WAITS_TO_BE_READ) && (what & EV_TIMEOUT)) {
        peer->peers->stats->dropped_peers_total++;
        note_misbehaviour(peer, "it does not read its answers");
        disconnect(peer);
        return;
    }
    if (peer->waits == WAITS_THROTTLED || peer->waits == WAITS_TO_SEND_FDS ||
        peer->waits == WAITS_FOR_LOOK)
        peer->waits = WAITS_FOR_NOTHING; /* the timer has run out; it may be wanted again */
    run(peer);
}

static void on_event(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    turn_begin();
    go_on(data, what);
    turn_end();
}

/* The process is gone, whoever may still hold a copy of its socket. */
static void on_exit_of_peer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    turn_begin();
    disconnect(data);
    turn_end();
}

/* ---- the beginning of a peer ---- */

/*
 * So that a connection ends with its process, whoever holds copies of its socket. Where thousands
 * are connected and descriptors become few, it is done without: then the connection ends with the
 * last copy. False: the process is gone.
 */
static bool watch_process(struct peer *peer)
{
    struct stats *stats = peer->peers->stats;
    list_remove(&peer->young_link);
    if (!stats_fds_available(stats, FDS_FOR_PIDFD, 2))
        return true;
    int r = peerid_pidfd(peer->socket, &peer->pidfd);
    if (r == -ENOPROTOOPT) { /* before Linux 6.5: at once then, while the number is still its own */
        peer->pidfd = (int)syscall(SYS_pidfd_open, peer->who.pid, 0);
        r = peer->pidfd < 0 ? -errno : 0;
    }
    if (r < 0) {
        peer->pidfd = -1;
        return r != -ESRCH && r != -EINVAL && r != -ENODATA;
    }
    stats->n_pidfds++;
    event_assign(&peer->exit_event, peer->peers->base, peer->pidfd, EV_READ, on_exit_of_peer, peer);
    event_add(&peer->exit_event, NULL);
    return true;
}

static void schedule_young(struct peers *peers)
{
    struct list *first = list_first(&peers->young);
    if (!first || evtimer_pending(peers->young_event, NULL))
        return;
    uint64_t due_ms = list_entry(first, struct peer, young_link)->accepted_ms + YOUNG_MS;
    uint64_t now_ms = clock_now_ms();
    struct timeval wait = clock_timeval(due_ms > now_ms ? due_ms - now_ms : 0);
    evtimer_add(peers->young_event, &wait);
}

/* Those that have stayed, and those that left their connection to somebody else. */
static void on_grown_up(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    struct peers *peers = data;
    struct list *first;
    turn_begin();
    uint64_t born_ms = clock_now_ms() - YOUNG_MS;
    for (unsigned n = 0; n < GROWN_UP_A_TURN && (first = list_first(&peers->young)); n++) {
        if (n > 0 && !turn_has_time())
            break;
        struct peer *peer = list_entry(first, struct peer, young_link);
        if (peer->accepted_ms > born_ms)
            break;
        if (!watch_process(peer))
            disconnect(peer);
    }
    schedule_young(peers);
    turn_end();
}

static void prepare_events(struct peer *peer)
{
    struct event_base *base = peer->peers->base;
    event_assign(&peer->read_event, base, peer->socket, EV_READ | EV_PERSIST, on_event, peer);
    event_assign(&peer->write_event, base, peer->socket, EV_WRITE | EV_PERSIST, on_event, peer);
    event_assign(&peer->read_by_peer_event, base, peer->socket, EV_WRITE | EV_ET | EV_PERSIST,
                 on_event, peer);
    event_assign(&peer->throttle_event, base, -1, 0, on_event, peer);
}

static struct peer *peer_new(struct peers *peers, int socket, const struct ucred *credentials)
{
    struct peer *peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->peers = peers;
    peer->socket = socket;
    peer->who.pid = credentials->pid;
    peer->who.uid = credentials->uid;
    peer->pidfd = -1;
    peer->accepted_ms = clock_now_ms();
    list_init(&peer->in_flight_link);
    list_init(&peer->young_link);
    list_init(&peer->looking_link);
    list_push_back(&peers->list, &peer->link);
    peers->stats->n_peers++;
    prepare_events(peer);
    return peer;
}

/* Whoever may give the daemon orders gets through, whatever else its programs hold. */
static int charge_fd(struct peer *peer)
{
    struct quota_user *user = peer->connection.user;
    if (peer->who.uid == 0 || peer->who.uid == geteuid())
        return quota_charge_held(&peer->fd_charge, user, QUOTA_FDS, 1);
    return quota_charge_fd(&peer->fd_charge, user, peer->peers->stats, FDS_FOR_PEER);
}

void peer_accept(struct peers *peers, int socket)
{
    struct ucred credentials;
    socklen_t length = sizeof(credentials);
    struct peer *peer = NULL;

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0)
        peer = peer_new(peers, socket, &credentials);
    if (!peer) {
        peers->stats->accept_errors_total++;
        close(socket);
        return;
    }
    peers->stats->connections_total++;
    struct quota_user *user;
    int r = quota_user_ref(peers->quota, peer->who.uid, &user);
    if (r < 0) {
        disconnect(peer);
        return;
    }
    /* Connecting is work, too, and must not be a way around the user's rate; nor must to be
     * refused. */
    quota_rate_debit(&user->rate, quota_user_limits(user).requests_per_user, clock_now_ns());
    r = quota_charge(&peer->connection, user, QUOTA_CONNECTIONS, 1);
    quota_user_unref(user);
    bool has_connection = r == 0;
    if (r == 0)
        r = charge_fd(peer);
    if (r != 0) { /* QUOTA_EXCEEDED */
        send_answer(peer, request_refuse_connection(peers->handler, has_connection));
        return;
    }
    list_push_back(&peers->young, &peer->young_link);
    if (peers->young_event)
        schedule_young(peers);
    else
        watch_process(peer); /* one that is gone already is seen to be by its socket */
    run(peer);
}

void peers_init(struct peers *peers, const struct peer_settings *settings, struct event_base *base,
                struct request_handler *handler, struct quota *quota, struct leases *leases,
                struct stats *stats)
{
    *peers = (struct peers){.settings = *settings,
                            .base = base,
                            .handler = handler,
                            .quota = quota,
                            .leases = leases,
                            .stats = stats};
    list_init(&peers->list);
    list_init(&peers->young);
    list_init(&peers->looking);
    leases->reclaim->on_round = on_round;
    leases->reclaim->on_round_data = peers;
    peers->has_cgroup_ids = peerid_has_cgroups();
    if (peerid_has_pidfds()) /* and so tells its process from a later one of the same number */
        peers->young_event = evtimer_new(base, on_grown_up, peers);
}

void peers_disconnect_all(struct peers *peers)
{
    list_for_each_safe(it, &peers->list)
    {
        disconnect(list_entry(it, struct peer, link));
    }
    if (peers->young_event)
        event_free(peers->young_event);
    peers->young_event = NULL;
}
