/*
 * Requests: from the bytes of a packet to the bytes of the answer and the descriptors that go with
 * it.
 *
 * Decides who may ask what and in which order (a Hello before a Lease, no second one), checks every
 * value, and calls lease.c or control.c. Knows nothing of sockets. Loop thread only.
 */
#ifndef HAKMEMD_REQUEST_H
#define HAKMEMD_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/conn.h"
#include "hakmemd/control.h"
#include "proto/wire.h"

/* Who asks. Embedded in the peer. */
struct request_peer {
    pid_t pid;
    uid_t uid;
    struct client *client; /* since Hello; the peer's to end */
    size_t max_fds;        /* of the next answer; at least 1 if request_may_send_fds() */
    uint64_t cgroup_id;    /* see request_wants_cgroup_id(); 0: not known */
};

struct request_answer {
    unsigned char packet[CONN_REPLY_MAX_BYTES];
    size_t n_bytes;
    int fds[CONN_MAX_FDS]; /* whoever sends the answer closes them, by request_close_fds() */
    size_t n_fds;
    size_t n_lent_fds; /* the first so many are others', who keep them until the loop goes on */
    bool disconnect;   /* after sending it */
    bool is_protocol_error;
};

/* One for the daemon: everything lives until the next request. */
struct request_handler {
    struct control *control;
    uint64_t daemon_epoch;
    struct wire_arena arena;
    struct control_reply reply_memory;
    Hakmem__Extent extents[CONN_MAX_FDS];
    Hakmem__Extent *extent_pointers[CONN_MAX_FDS];
    struct request_answer answer;
};

/* 0 or a negative errno. */
int request_handler_new(struct control *control, struct request_handler **handler_out);
/* Accepts NULL. */
void request_handler_free(struct request_handler *handler);

/* The request of a packet, valid until the next call, or NULL: malformed. */
Hakmem__Request *request_parse(struct request_handler *handler, const void *packet, size_t n_bytes);

/* May its answer carry descriptors? Then it waits until the last ones have been read. */
bool request_may_send_fds(const Hakmem__Request *request);

/* Would the number of the peer's control group (peerid.h) save the reading of its name? */
bool request_wants_cgroup_id(const struct request_handler *handler, const struct request_peer *peer,
                             const Hakmem__Request *request);

/* May its answer be of tens of KiB? Then it waits likewise. */
bool request_answer_is_large(const Hakmem__Request *request);

/*
 * Before it is served: begins to have all clients looked at, if its answer says what is to be seen
 * there. The round to wait for, by request_is_ready(), or 0: none.
 */
unsigned request_begin(struct request_handler *handler, const struct request_peer *peer,
                       const Hakmem__Request *request);
bool request_is_ready(const struct request_handler *handler, unsigned round);

/* Serves it (NULL: a malformed one). The answer is the handler's own, valid until the next call. */
struct request_answer *request_serve(struct request_handler *handler, struct request_peer *peer,
                                     const Hakmem__Request *request);

/* Once it is sent: closes what is the answer's own. */
void request_close_fds(struct request_answer *answer);

/* The answer instead, to a request that may bring descriptors: too many are on their way to the
 * user already. */
struct request_answer *request_refuse_fds(struct request_handler *handler,
                                          struct request_peer *peer,
                                          const Hakmem__Request *request);

/* An answer that nobody asked for: a connection beyond the user's limit, or (`for_fds`) beyond its
 * share of the daemon's descriptors. */
struct request_answer *request_refuse_connection(struct request_handler *handler, bool for_fds);

#endif
