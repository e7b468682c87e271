/*
 * See link.h. One connection, one request for memory under way at a time, replies strictly in
 * order.
 *
 *   ABSENT -> HELLO_SENT -> READY <-> LEASE_SENT, and from anywhere back to ABSENT at the end.
 *
 * A ledger that outlives its daemon (docs/restart.md) is kept when the connection ends, for the
 * daemon after it, until a Hello is answered without it, or that took too long.
 *
 * Invariants:
 * - Every request but the one in self.pending_id is a Return.
 * - There is a ledger (self.ledgers.current) in the states READY and LEASE_SENT, and in the others
 *   while one is kept. `generation` changes when there is another one, or none.
 * - This runs inside malloc: it must not allocate, print, or be a cancellation point.
 *
 * Longer than other files: all transitions of the one state machine are here.
 */
#include "libclient/link.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "common/atomic.h"
#include "common/superslab.h"
#include "libclient/connection.h"
#include "libclient/delivery.h"
#include "libclient/forkmark.h"
#include "libclient/glue.h"
#include "libclient/identity.h"
#include "proto/wire.h"

#define DEFAULT_SOCKET "/run/hakmem/hakmemd.sock"

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* No daemon, or one that misbehaves: tried again after this, doubling up to the maximum. */
#define CONNECT_BACKOFF_NS     (100 * NS_PER_MS)
#define CONNECT_BACKOFF_MAX_NS (10 * NS_PER_S)
/* A connection that worked has ended: probably a restart, so the first try comes sooner. */
#define LOSS_BACKOFF_NS        (10 * NS_PER_MS)
#define REFUSED_BACKOFF_NS     (50 * NS_PER_MS)
#define REFUSED_BACKOFF_MAX_NS (2 * NS_PER_S)
/* A connection that lived this long clears the back-off: a daemon that greets and hangs up does
 * not. */
#define CONNECTION_PROVEN_NS (1 * NS_PER_S)
/* A reply that is later than this is not coming: the daemon is broken, or stopped by hand. */
#define REPLY_GIVE_UP_NS (30 * NS_PER_S)

/* A daemon that is restarted is there again by then; else nobody is going to claim the ledger. */
#define KEEP_LEDGER_NS (10 * NS_PER_S)

#define LEASE_MAX_SLABS 256u
#define HELLO_MAX_SLABS 16u
#define RETURN_MAX_IDS  64u

enum link_state {
    STATE_ABSENT,
    STATE_HELLO_SENT,
    STATE_READY,
    STATE_LEASE_SENT,
};

enum receipt {
    RECEIPT_NOTHING, /* no packet there */
    RECEIPT_GRANT,
    RECEIPT_REFUSAL,
    RECEIPT_OTHER, /* a reply that brought no extents and refused none */
    RECEIPT_LOST,
};

struct backoff {
    uint64_t until_ns;
    uint64_t delay_ns;
};

/* What a call must leave as it found it. */
struct guard {
    int saved_errno;
    int cancel_state;
};

/* All of it under source.c's lock. */
static struct {
    const char *path;
    bool enabled;
    uint64_t wait_ns;
    uint64_t held_bytes;

    enum link_state state;
    struct connection connection;
    struct delivery_ledgers ledgers;
    uint32_t generation;
    uint64_t connected_ns;

    struct identity identity;
    uint64_t lost_ns; /* since when the ledger is kept */

    uint64_t pending_id; /* the Hello or Lease under way, or 0 */
    uint64_t pending_since_ns;
    bool pending_timed_out; /* a wait for it ran out already: it is not waited for again */
    uint32_t want_slabs;
    uint32_t want_run;

    struct backoff connect_backoff;
    struct backoff refused_backoff;
    uint32_t refused_run; /* smallest run refused since the last grant */

    uint32_t ledger_slots;

    struct link_counters counters;
} self = {.connection = {.socket = {.fd = -1}}};

/* Any thread reads it. Release at change pairs with the acquire in link_ledger: the mapping is
 * there before its address. */
static struct ledger *ledger_in_force;
/* Likewise. */
static uint64_t n_syscalls_shown;

static void backoff_raise(struct backoff *backoff, uint64_t first_ns, uint64_t max_ns)
{
    uint64_t delay = backoff->delay_ns ? backoff->delay_ns * 2 : first_ns;
    backoff->delay_ns = delay < max_ns ? delay : max_ns;
    backoff->until_ns = glue_now_ns() + backoff->delay_ns;
}

/* ---- the connection ---- */

static void socket_release(void)
{
    if (!connection_close(&self.connection, &self.counters.syscalls))
        self.counters.stolen_fds++;
}

/* There is no ledger any more: nobody heeds its words. */
static void ledger_drop(void)
{
    self.generation++;
    delivery_retire_ledger(&self.ledgers, &self.counters.syscalls);
    self.ledger_slots = 0;
    identity_forget(&self.identity);
}

/* Ends the connection. `first_ns`: the back-off to begin with. */
static void connection_end(uint64_t first_ns)
{
    socket_release();
    if (self.state == STATE_READY || self.state == STATE_LEASE_SENT) {
        self.counters.losses++;
        atomic_store_release(&ledger_in_force, NULL); /* pairs with the acquire in link_ledger */
        self.lost_ns = glue_now_ns();
        if (self.identity.client_id == 0)
            ledger_drop();
        if (glue_now_ns() - self.connected_ns >= CONNECTION_PROVEN_NS)
            self.connect_backoff.delay_ns = 0;
    } else {
        self.counters.connect_fails++;
    }
    self.state = STATE_ABSENT;
    self.pending_id = 0;
    backoff_raise(&self.connect_backoff, first_ns, CONNECT_BACKOFF_MAX_NS);
}

static bool ledger_is_kept(void)
{
    return self.ledgers.current.ledger &&
           (self.state == STATE_ABSENT || self.state == STATE_HELLO_SENT);
}

static void ledger_drop_if_stale(void)
{
    if (self.state == STATE_ABSENT && ledger_is_kept() &&
        glue_now_ns() - self.lost_ns > KEEP_LEDGER_NS)
        ledger_drop();
}

/* Sends the request under the next id. False: the connection has ended. */
static bool request_send(Hakmem__ProgramRequest *request)
{
    if (connection_send(&self.connection, request, &self.counters.syscalls))
        return true;
    connection_end(LOSS_BACKOFF_NS);
    return false;
}

static bool request_send_pending(Hakmem__ProgramRequest *request, enum link_state state)
{
    if (!request_send(request))
        return false;
    self.state = state;
    self.pending_id = self.connection.last_id;
    self.pending_since_ns = glue_now_ns();
    self.pending_timed_out = false;
    return true;
}

/* Where the thread that asks runs: the daemon has memory near it. From the vDSO: no system call. */
static uint32_t cpu_plus_one(void)
{
    return (uint32_t)(sched_getcpu() + 1); /* 0 where it cannot be told */
}

static bool lease_send(void)
{
    Hakmem__Lease lease = HAKMEM__LEASE__INIT;
    Hakmem__ProgramRequest request = HAKMEM__PROGRAM_REQUEST__INIT;
    lease.n_slabs = self.want_slabs;
    lease.run_slabs = self.want_run;
    lease.cpu_plus_one = cpu_plus_one();
    request.body_case = HAKMEM__PROGRAM_REQUEST__BODY_LEASE;
    request.lease = &lease;
    return request_send_pending(&request, STATE_LEASE_SENT);
}

static bool hello_send(void)
{
    Hakmem__Hello hello = HAKMEM__HELLO__INIT;
    Hakmem__ProgramRequest request = HAKMEM__PROGRAM_REQUEST__INIT;
    hello.version_min = WIRE_VERSION_MIN;
    hello.version_max = WIRE_VERSION_MAX;
    hello.want_slabs = self.want_slabs < HELLO_MAX_SLABS ? self.want_slabs : HELLO_MAX_SLABS;
    hello.held_bytes = self.held_bytes;
    identity_show(&self.identity, ledger_is_kept(), &hello);
    hello.cpu_plus_one = cpu_plus_one();
    request.body_case = HAKMEM__PROGRAM_REQUEST__BODY_HELLO;
    request.hello = &hello;
    return request_send_pending(&request, STATE_HELLO_SENT);
}

/* Connects and says Hello. False: nobody there, and the back-off is running. */
static bool greet(void)
{
    forkmark_set(FORKMARK_LINK, &self.counters.syscalls);
    if (!connection_open(&self.connection, self.path ? self.path : DEFAULT_SOCKET,
                         &self.counters.syscalls)) {
        connection_end(CONNECT_BACKOFF_NS);
        return false;
    }
    return hello_send();
}

/* ---- replies ---- */

/* Moves the descriptors into `out`. */
static void extents_take(Hakmem__Extent *const *extents, size_t n_extents, int *fds,
                         const uint64_t *inodes, struct link_extent *out, size_t *n_out)
{
    for (size_t i = 0; i < n_extents; i++) {
        out[i] = (struct link_extent){.id = extents[i]->id,
                                      .fd = fds[i],
                                      .inode = inodes[i],
                                      .n_slabs = extents[i]->n_slabs,
                                      .first_slot = extents[i]->first_slot,
                                      .huge_slabs = extents[i]->huge_slabs};
        fds[i] = -1;
    }
    *n_out = n_extents;
    self.counters.leases += n_extents;
    self.refused_backoff = (struct backoff){0};
}

/* Our ledger goes on, or a new one is in its place. */
static bool ledger_take(const Hakmem__HelloReply *hello, int *fds)
{
    if (hello->reattached)
        return ledger_is_kept() && hello->ledger_slots == self.ledger_slots &&
               hello->client_id == self.identity.client_id;
    if (ledger_is_kept())
        ledger_drop();
    if (!delivery_map_ledger(&self.ledgers, fds[0], hello->ledger_slots, &self.counters.syscalls))
        return false;
    self.ledger_slots = hello->ledger_slots;
    self.generation++;
    return true;
}

static enum receipt hello_take(const Hakmem__HelloReply *hello, int *fds, size_t n_fds,
                               struct link_extent *extents, size_t *n_extents)
{
    size_t n_ledgers = hello->reattached ? 0 : 1;
    uint64_t inodes[CONN_MAX_FDS];
    if (hello->version < WIRE_VERSION_MIN || hello->version > WIRE_VERSION_MAX ||
        n_fds != hello->n_extents + n_ledgers ||
        !delivery_extents_are_valid(hello->extents, hello->n_extents, fds + n_ledgers,
                                    hello->ledger_slots, 1, inodes, &self.counters.syscalls) ||
        !ledger_take(hello, fds))
        return RECEIPT_LOST;

    identity_take(&self.identity, hello);
    self.connected_ns = glue_now_ns();
    self.counters.connects++;
    self.state = STATE_READY;
    self.pending_id = 0;
    /* Pairs with the acquire in link_ledger. */
    atomic_store_release(&ledger_in_force, self.ledgers.current.ledger);
    if (hello->n_extents == 0)
        return lease_send() ? RECEIPT_OTHER : RECEIPT_LOST; /* what the Hello did not bring */
    extents_take(hello->extents, hello->n_extents, fds + n_ledgers, inodes, extents, n_extents);
    return RECEIPT_GRANT;
}

static enum receipt lease_take(const Hakmem__LeaseReply *lease, int *fds, size_t n_fds,
                               struct link_extent *extents, size_t *n_extents)
{
    uint64_t inodes[CONN_MAX_FDS];
    if (lease->n_extents == 0 || n_fds != lease->n_extents ||
        !delivery_extents_are_valid(lease->extents, lease->n_extents, fds, self.ledger_slots,
                                    self.want_run, inodes, &self.counters.syscalls))
        return RECEIPT_LOST;
    self.state = STATE_READY;
    self.pending_id = 0;
    extents_take(lease->extents, lease->n_extents, fds, inodes, extents, n_extents);
    return RECEIPT_GRANT;
}

static enum receipt error_take(const Hakmem__Error *error, bool is_pending)
{
    switch (error->code) {
    case HAKMEM__ERROR_CODE__ERROR_QUOTA:
    case HAKMEM__ERROR_CODE__ERROR_NO_MEMORY:
    case HAKMEM__ERROR_CODE__ERROR_BUSY:
    case HAKMEM__ERROR_CODE__ERROR_INVALID:
    case HAKMEM__ERROR_CODE__ERROR_UNSUPPORTED:
    case HAKMEM__ERROR_CODE__ERROR_NOT_PERMITTED:
        break;
    default:
        return RECEIPT_LOST; /* the daemon hangs up after these */
    }
    if (!is_pending)
        return RECEIPT_OTHER;
    self.counters.refusals++;
    if (self.state == STATE_HELLO_SENT) {
        connection_end(CONNECT_BACKOFF_NS);
        return RECEIPT_REFUSAL;
    }
    self.state = STATE_READY;
    self.pending_id = 0;
    if (self.refused_backoff.delay_ns == 0 || self.want_run < self.refused_run)
        self.refused_run = self.want_run;
    backoff_raise(&self.refused_backoff, REFUSED_BACKOFF_NS, REFUSED_BACKOFF_MAX_NS);
    return RECEIPT_REFUSAL;
}

/* Descriptors that were taken are -1 afterwards; the others are the caller's to close. */
static enum receipt reply_take(const Hakmem__ProgramReply *reply, int *fds, size_t n_fds,
                               struct link_extent *extents, size_t *n_extents)
{
    bool is_pending = reply->id == self.pending_id;
    switch (reply->body_case) {
    case HAKMEM__PROGRAM_REPLY__BODY_ERROR:
        return n_fds == 0 ? error_take(reply->error, is_pending) : RECEIPT_LOST;
    case HAKMEM__PROGRAM_REPLY__BODY_RETURN_EXTENTS:
        return n_fds == 0 && !is_pending ? RECEIPT_OTHER : RECEIPT_LOST;
    case HAKMEM__PROGRAM_REPLY__BODY_HELLO:
        if (!is_pending || self.state != STATE_HELLO_SENT)
            return RECEIPT_LOST;
        return hello_take(reply->hello, fds, n_fds, extents, n_extents);
    case HAKMEM__PROGRAM_REPLY__BODY_LEASE:
        if (!is_pending || self.state != STATE_LEASE_SENT)
            return RECEIPT_LOST;
        return lease_take(reply->lease, fds, n_fds, extents, n_extents);
    default:
        return RECEIPT_LOST;
    }
}

/* Takes one packet, if there is one. After RECEIPT_LOST the connection has ended. */
static enum receipt receive(struct link_extent *extents, size_t *n_extents)
{
    Hakmem__ProgramReply *reply;
    int fds[CONN_MAX_FDS];
    size_t n_fds = 0;

    switch (connection_receive(&self.connection, &reply, fds, &n_fds, &self.counters.syscalls)) {
    case CONNECTION_NOTHING:
        return RECEIPT_NOTHING;
    case CONNECTION_CLOSED:
        connection_end(self.state != STATE_HELLO_SENT ? LOSS_BACKOFF_NS : CONNECT_BACKOFF_NS);
        return RECEIPT_LOST;
    case CONNECTION_BROKEN:
        connection_end(CONNECT_BACKOFF_NS);
        return RECEIPT_LOST;
    case CONNECTION_REPLY:
        break;
    }
    enum receipt receipt = reply_take(reply, fds, n_fds, extents, n_extents);
    for (size_t i = 0; i < n_fds; i++)
        self.counters.syscalls += fds[i] >= 0;
    conn_close_fds(fds, n_fds);
    /* Where lease_send() failed the connection has ended already. */
    if (receipt == RECEIPT_LOST && self.state != STATE_ABSENT)
        connection_end(CONNECT_BACKOFF_NS);
    return receipt;
}

/* ---- waiting ---- */

/* Collects the reply to the pending request, waiting until `deadline_ns` (0: not at all). */
static enum link_result pending_collect(uint64_t deadline_ns, bool is_fresh,
                                        struct link_extent *extents, size_t *n_extents)
{
    /* The answer to a request just sent cannot be there yet: wait first, receive then. */
    bool in_time = is_fresh && deadline_ns
                       ? connection_wait(&self.connection, deadline_ns, &self.counters.syscalls)
                       : true;
    for (;;) {
        switch (receive(extents, n_extents)) {
        case RECEIPT_GRANT:
            return LINK_GRANTED;
        case RECEIPT_REFUSAL:
            return LINK_REFUSED;
        case RECEIPT_LOST:
            return LINK_ABSENT;
        case RECEIPT_OTHER:
            continue;
        case RECEIPT_NOTHING:
            break;
        }
        if (deadline_ns == 0)
            break;
        if (!in_time) {
            self.pending_timed_out = true;
            self.counters.timeouts++;
            break;
        }
        in_time = connection_wait(&self.connection, deadline_ns, &self.counters.syscalls);
    }
    if (glue_now_ns() - self.pending_since_ns > REPLY_GIVE_UP_NS) {
        connection_end(CONNECT_BACKOFF_NS);
        return LINK_ABSENT;
    }
    return LINK_PENDING;
}

/* Takes the replies to Returns that have come in. Nothing is pending. */
static void replies_drain(void)
{
    struct link_extent none[CONN_MAX_FDS];
    size_t n_none = 0;
    while (self.state == STATE_READY && receive(none, &n_none) == RECEIPT_OTHER)
        ;
}

/* ---- operations ---- */

static void forget_parent(void)
{
    socket_release();
    /* Relaxed is enough: a child that just forked has one thread. */
    atomic_store_relaxed(&ledger_in_force, NULL);
    delivery_abandon_ledgers(&self.ledgers, &self.counters.syscalls);
    identity_forget(&self.identity);
    self.state = STATE_ABSENT;
    self.pending_id = 0;
    self.generation++;
    self.connect_backoff = (struct backoff){0};
    self.refused_backoff = (struct backoff){0};
    if (forkmark_is_wiped(FORKMARK_LINK))
        forkmark_set(FORKMARK_LINK, &self.counters.syscalls);
}

/* malloc is no cancellation point, and the calls made here are: a thread must not end in them with
 * our lock held. */
static struct guard guard_enter(void)
{
    struct guard guard = {.saved_errno = errno};
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &guard.cancel_state);
    if (forkmark_is_wiped(FORKMARK_LINK))
        forget_parent();
    ledger_drop_if_stale();
    return guard;
}

static void guard_leave(struct guard guard)
{
    atomic_store_relaxed(&n_syscalls_shown, self.counters.syscalls); /* a figure */
    pthread_setcancelstate(guard.cancel_state, NULL);
    errno = guard.saved_errno;
}

void link_init(const char *path, bool enabled, uint32_t wait_us)
{
    struct guard guard = guard_enter();
    forget_parent();
    self.path = path;
    self.enabled = enabled;
    self.wait_ns = wait_us * NS_PER_US;
    self.held_bytes = 0;
    self.counters = (struct link_counters){0};
    guard_leave(guard);
}

/* Sends what gets extents: a Hello or a Lease. LINK_PENDING when it is under way. */
static enum link_result request_start(uint64_t now, uint32_t n_slabs, uint32_t run_slabs)
{
    if (n_slabs < run_slabs)
        n_slabs = run_slabs;
    self.want_slabs = n_slabs < LEASE_MAX_SLABS ? n_slabs : LEASE_MAX_SLABS;
    self.want_run = run_slabs;
    if (self.state == STATE_ABSENT) {
        if (now < self.connect_backoff.until_ns)
            return LINK_ABSENT;
        return greet() ? LINK_PENDING : LINK_ABSENT;
    }
    if (now < self.refused_backoff.until_ns && run_slabs >= self.refused_run)
        return LINK_REFUSED;
    return lease_send() ? LINK_PENDING : LINK_ABSENT;
}

enum link_result link_lease(uint32_t n_slabs, uint32_t run_slabs, bool wait,
                            struct link_extent extents[CONN_MAX_FDS], size_t *n_extents)
{
    if (!self.enabled)
        return LINK_ABSENT;
    if (n_slabs == 0 || !extent_slabs_is_valid(run_slabs))
        return LINK_REFUSED;
    struct guard guard = guard_enter();
    enum link_result result = LINK_PENDING;
    /* Taken first, so that connecting and sending count towards the bound. */
    uint64_t now = glue_now_ns();
    bool is_fresh = self.pending_id == 0;
    if (is_fresh)
        result = request_start(now, n_slabs, run_slabs);
    if (result == LINK_PENDING && !(is_fresh && !wait)) {
        bool may_wait = wait && !self.pending_timed_out;
        result = pending_collect(may_wait ? now + self.wait_ns : 0, is_fresh, extents, n_extents);
    }
    guard_leave(guard);
    return result;
}

enum link_result link_collect(struct link_extent extents[CONN_MAX_FDS], size_t *n_extents)
{
    if (!self.enabled)
        return LINK_ABSENT;
    struct guard guard = guard_enter();
    enum link_result result = LINK_ABSENT;
    if (self.pending_id != 0)
        result = pending_collect(0, false, extents, n_extents);
    else
        replies_drain();
    guard_leave(guard);
    return result;
}

bool link_is_pending(void)
{
    return self.pending_id != 0;
}

void link_return(const uint64_t *extent_ids, size_t n_extents)
{
    Hakmem__Return body = HAKMEM__RETURN__INIT;
    Hakmem__ProgramRequest request = HAKMEM__PROGRAM_REQUEST__INIT;
    struct guard guard = guard_enter();
    /* While a lease is pending its collector takes these replies too. */
    replies_drain();
    if (n_extents > 0 && n_extents <= RETURN_MAX_IDS &&
        (self.state == STATE_READY || self.state == STATE_LEASE_SENT)) {
        body.n_extent_ids = n_extents;
        body.extent_ids = (uint64_t *)extent_ids; /* packing only reads it */
        request.body_case = HAKMEM__PROGRAM_REQUEST__BODY_RETURN_EXTENTS;
        request.return_extents = &body;
        (void)request_send(&request);
    }
    guard_leave(guard);
}

void link_set_held_bytes(uint64_t bytes)
{
    self.held_bytes = bytes;
}

struct ledger *link_ledger(void)
{
    /* Pairs with the release in hello_take: the header was checked before the address was shown. */
    return atomic_load_acquire(&ledger_in_force);
}

struct ledger *link_words(void)
{
    return self.ledgers.current.ledger;
}

uint32_t link_generation(void)
{
    return self.generation;
}

enum ledger_pressure link_pressure(void)
{
    struct ledger *ledger = link_ledger();
    if (!ledger)
        return LEDGER_PRESSURE_NONE;
    /* Relaxed: a hint that orders nothing. What the daemon never writes means nothing. */
    uint32_t pressure = atomic_load_relaxed(&ledger->pressure);
    return pressure <= LEDGER_PRESSURE_CRITICAL ? (enum ledger_pressure)pressure
                                                : LEDGER_PRESSURE_NONE;
}

bool link_is_untouched(void)
{
    return self.counters.syscalls == 0;
}

void link_after_fork_child(void)
{
    int saved_errno = errno;
    forget_parent();
    errno = saved_errno;
}

int link_descriptor(void)
{
    return self.connection.socket.fd;
}

const struct link_counters *link_counters(void)
{
    return &self.counters;
}

uint64_t link_n_syscalls(void)
{
    return atomic_load_relaxed(&n_syscalls_shown);
}
