/*
 * Control requests: what hakmemctl asks and orders. One function per message; each fills its reply.
 *
 * What a SuperSlab is in, ACTIVE or IDLE, is shown as reclaim's last round has seen it, and a trim
 * has handed over what that has: whoever wants more than that has a round made before
 * (reclaim_look()).
 *
 * Replies live in a control_arena until the next request. Read-only requests are anybody's; the
 * others are for root or the daemon's own user (request.c checks). Loop thread only.
 */
#ifndef HAKMEMD_CONTROL_H
#define HAKMEMD_CONTROL_H

#include <stdint.h>

#include "hakmemd/lease.h"
#include "hakmemd/pressure.h"
#include "proto/wire.h"

struct adopt;

/* The parts of the daemon that requests work on. Embedded in the core. */
struct control {
    struct quota *quota;
    struct ledgers *ledgers;
    struct cgroups *cgroups;
    struct leases *leases;
    struct pool *pool;
    struct reclaim *reclaim;
    struct pressure *pressure;
    struct adopt *adopt;
    struct stats *stats;
};

/* Memory of one reply at a time: messages, arrays and strings. */
struct control_reply {
    Hakmem__PingReply ping;
    Hakmem__StatsReply stats;
    Hakmem__PoolReply pool;
    Hakmem__PoolOrder orders[POOL_N_ORDERS];
    Hakmem__PoolOrder *order_pointers[POOL_N_ORDERS];
    Hakmem__PoolNode nodes[TOPOLOGY_MAX_NODES];
    Hakmem__PoolNode *node_pointers[TOPOLOGY_MAX_NODES];
    char shmem_enabled[32];
    Hakmem__ClientsReply clients;
    Hakmem__Client *client_list; /* grown as needed, kept */
    Hakmem__Client **client_pointers;
    size_t n_client_capacity;
    Hakmem__ClassUsage classes[LEDGER_N_CLASSES];
    Hakmem__ClassUsage *class_pointers[LEDGER_N_CLASSES];
    Hakmem__TrimReply trim;
    Hakmem__PrewarmReply prewarm;
    Hakmem__DrainReply drain;
    Hakmem__SetQuotaReply set_quota;
};

/* Frees what has grown, not the struct. */
void control_reply_deinit(struct control_reply *reply);

void control_ping(struct control *control, struct control_reply *memory, Hakmem__Reply *reply);
void control_stats(struct control *control, struct control_reply *memory, Hakmem__Reply *reply);
void control_pool(struct control *control, struct control_reply *memory, Hakmem__Reply *reply);
/* All clients (only_pid 0), as many as the packet holds, or one with its classes. 0, or -ENOMEM. */
int control_clients(struct control *control, uint32_t only_pid, struct control_reply *memory,
                    Hakmem__Reply *reply);
void control_trim(struct control *control, struct control_reply *memory, Hakmem__Reply *reply);
void control_prewarm(struct control *control, uint64_t n_bytes, struct control_reply *memory,
                     Hakmem__Reply *reply);
void control_drain(struct control *control, bool resume, struct control_reply *memory,
                   Hakmem__Reply *reply);
/* 0, -EINVAL (no such key), -ERANGE, -ENOMEM. */
int control_set_quota(struct control *control, const Hakmem__SetQuota *order,
                      struct control_reply *memory, Hakmem__Reply *reply);

#endif
