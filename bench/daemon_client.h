/*
 * A client of the daemon without the library: speaks the protocol raw, so that the daemon's own
 * figures have nothing of the library's in them. Blocking; a daemon that does not answer within ten
 * seconds ends the program.
 */
#ifndef HAKMEM_BENCH_DAEMON_CLIENT_H
#define HAKMEM_BENCH_DAEMON_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conn.h"
#include "common/ledger.h"
#include "common/superslab.h"
#include "proto/wire.h"

/* An extent in our hands. `fd` is -1 once closed, `memory` NULL while not mapped. */
struct daemon_extent {
    uint64_t id;
    uint32_t n_slabs;
    uint32_t first_slot;
    uint32_t huge_slabs;
    int fd;
    void *memory;
};

/* Large (the reply's packet is in it): static or from the heap. */
struct daemon_client {
    int socket;
    uint64_t next_id;
    struct ledger *ledger; /* NULL before daemon_hello() */
    uint32_t n_slots;
    struct wire_arena arena;
    unsigned char packet[CONN_REPLY_MAX_BYTES];
    unsigned char arena_bytes[4 * CONN_REPLY_MAX_BYTES];
};

/* Connects; says nothing yet. A control peer needs no more. */
void daemon_connect(struct daemon_client *client, const char *path);
/* Registers as a client that wants no extents yet, and maps the ledger if asked to. */
void daemon_hello(struct daemon_client *client, bool map_ledger);
/* The same, with its first memory: number of extents that came with the answer. */
size_t daemon_hello_lease(struct daemon_client *client, uint32_t want_slabs, bool map_ledger,
                          struct daemon_extent *extents);
void daemon_disconnect(struct daemon_client *client);

/*
 * Sends a request and waits for its reply, which is valid until the next call. Descriptors that
 * came with it are the caller's; fds may be NULL where none can come. An Error reply is returned
 * like any other.
 */
Hakmem__Reply *daemon_ask(struct daemon_client *client, Hakmem__Request *request, int *fds,
                          size_t *n_fds);

/* Number of extents granted, at most CONN_MAX_FDS; 0: refused. */
size_t daemon_lease(struct daemon_client *client, uint32_t n_slabs, uint32_t run_slabs,
                    struct daemon_extent *extents);
/* Maps an extent, its slots ACTIVE (if the ledger is mapped). */
void daemon_map(struct daemon_client *client, struct daemon_extent *extent);
/* Says that a mapped extent's SuperSlabs are no longer used. */
void daemon_set_idle(struct daemon_client *client, const struct daemon_extent *extent);
/* Unmaps, closes, and tells the daemon. Any number of extents. */
void daemon_return(struct daemon_client *client, struct daemon_extent *extents, size_t n_extents);

/* A copy of the daemon's statistics. */
Hakmem__StatsReply daemon_stats(struct daemon_client *client);
/* Control requests; the daemon must let us. */
void daemon_trim(struct daemon_client *client);
void daemon_prewarm(struct daemon_client *client, uint64_t n_bytes);

/* Polls the statistics each millisecond until done(stats, context), at most timeout_s. False: it
 * ran out. */
bool daemon_wait(struct daemon_client *client,
                 bool (*done)(const Hakmem__StatsReply *stats, const void *context),
                 const void *context, unsigned timeout_s);

#endif
