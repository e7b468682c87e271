/*
 * Peers: the connections. Bytes and descriptors in, requests served one at a time, answers out.
 *
 * A peer is always in exactly one of these: waiting for a request (read), for room to send its
 * answer (write), for the peer to read the descriptors sent before (held), for all clients to be
 * looked at (looking), for its request rate (throttled), or for its punches to finish after it is
 * gone (ending). Only while it waits to read is it read from: so at most one request and one answer
 * per peer are ever held, and whatever else it sends waits in the kernel, at its own cost.
 *
 * Invariants: a packet with descriptors, or a large one, is sent only when nothing is unread, and
 * while descriptors are on their way they are charged to the user (quota.descriptors_per_user). A
 * peer's socket is closed only when no work on its client's extents is in flight. Loop thread only.
 */
#ifndef HAKMEMD_PEER_H
#define HAKMEMD_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "hakmemd/log.h"
#include "hakmemd/request.h"

struct event_base;

struct peer_settings {
    uint64_t unread_timeout_ms; /* an answer that cannot be sent for so long: the peer is dropped */
};

struct peers {
    struct peer_settings settings;
    struct event_base *base;
    struct request_handler *handler;
    struct quota *quota;
    struct leases *leases;
    struct stats *stats;
    struct list list;          /* peer.link */
    struct list looking;       /* peer.looking_link: they wait for a round of reclaim's */
    struct list young;         /* peer.young_link: not watched by a pidfd yet, the oldest first */
    bool has_cgroup_ids;       /* the kernel tells them (peerid.h) */
    struct event *young_event; /* pending while there are some; NULL: all are watched at once */
    struct log_limit misbehaviour;
};

void peers_init(struct peers *peers, const struct peer_settings *settings, struct event_base *base,
                struct request_handler *handler, struct quota *quota, struct leases *leases,
                struct stats *stats);

/* Consumes a connected, non-blocking socket: it becomes a peer, or is told why not and closed. */
void peer_accept(struct peers *peers, int socket);

/* Disconnects all, and accepts none any more. Those with work in flight are gone once
 * workers_free() has returned. */
void peers_disconnect_all(struct peers *peers);

#endif
