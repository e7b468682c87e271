/*
 * The server: everything the daemon consists of, put together, and the listening socket in front of
 * it.
 *
 * Owns the event loop, the listener, the core, and the peers. One thread, the loop's.
 */
#ifndef HAKMEMD_SERVER_H
#define HAKMEMD_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "hakmemd/log.h"
#include "hakmemd/peer.h"

#define SERVER_DEFAULT_SOCKET "/run/hakmem/hakmemd.sock"

/* The whole configuration, module by module. config.c fills it in. */
struct server_settings {
    struct host host;      /* with a restart only */
    char socket_path[108]; /* sockaddr_un's */
    unsigned socket_mode;
    enum log_level log_level;
    struct pool_settings pool;
    uint64_t idle_ms;
    enum scrub_reuse reuse;
    struct quota_settings quota;
    struct peer_settings peer;
    struct pressure_settings pressure;
    uint64_t store_after_ms;
    uint64_t reattach_ms;
};

struct server;

/*
 * Reads the configuration again into *settings_out; false: it is wrong (and was reported), keep
 * what is in force.
 */
typedef bool server_reload_fn(void *data, struct server_settings *settings_out);

/* 0 or a negative errno, which has been logged. Listens when it returns. `reload_data` is borrowed.
 */
int server_new(const struct server_settings *settings, server_reload_fn *reload, void *reload_data,
               struct server **server_out);
/* Runs until SIGTERM or SIGINT; then leaves what is leased in the service manager's store, if there
 * is one. 0 or a negative errno. */
int server_run(struct server *server);
/* Accepts NULL. */
void server_free(struct server *server);

#endif
