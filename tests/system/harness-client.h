/*
 * A client of the daemon's at the level of packets: does what the library does, and also what it
 * never would. Each step is a call of its own, so that a test can leave one out, repeat it or do it
 * at the wrong time.
 */
#ifndef HAKMEM_TESTS_HARNESS_CLIENT_H
#define HAKMEM_TESTS_HARNESS_CLIENT_H

#include "common/conn.h"
#include "common/ledger.h"
#include "harness.h"

struct client {
    int socket; /* -1: closed */
    uint64_t last_id;
    struct ledger *ledger; /* after client_hello() */
    uint32_t n_slots;
    uint64_t max_client_bytes;
    uint64_t id;             /* over restarts, or 0 */
    unsigned char token[16]; /* that goes with it */
    bool is_reattached;
    uint64_t held_bytes;  /* what Hello is to say */
    char error_limit[64]; /* of the last Error */
    char error_message[256];
};

/* An extent in hand. */
struct lease {
    uint64_t id;
    int fd; /* -1: closed */
    uint32_t n_slabs;
    uint32_t first_slot;
    uint32_t huge_slabs;
    unsigned char *memory; /* NULL: not mapped */
};

/* Connects, waiting while the listener's queue is full. */
void client_connect(struct client *client, const struct daemon *daemon);
/* Closes the socket and unmaps the ledger. */
void client_close(struct client *client);

/* Sends a request under the next id. 0 or a negative errno. */
int client_send(struct client *client, Hakmem__Request *request);
/* Sends raw bytes. 0 or a negative errno. */
int client_send_bytes(struct client *client, const void *bytes, size_t n_bytes);

/*
 * The next reply (valid until this thread's next call) and its descriptors, which become the
 * caller's; NULL if the daemon has hung up. Requires an answer in time.
 */
Hakmem__Reply *client_receive(struct client *client, int fds[CONN_MAX_FDS], size_t *n_fds);
/* Requires that the daemon hangs up, whatever it says before. The code of the last Error it sent.
 */
Hakmem__ErrorCode client_expect_hang_up(struct client *client);

/* The following return the code of the Error that the daemon answered with, or ERROR_NONE. */

/* Says Hello, and maps the ledger. The extents that come become leases[0..*n_leases), not mapped
 * yet. */
Hakmem__ErrorCode client_hello(struct client *client, uint32_t want_slabs,
                               struct lease leases[CONN_MAX_FDS], size_t *n_leases);
/*
 * After the daemon's end: connects anew, showing id and token, and sets is_reattached. If it is,
 * the ledger goes on; else there is a new one.
 */
Hakmem__ErrorCode client_come_back(struct client *client, const struct daemon *daemon,
                                   uint32_t want_slabs, struct lease leases[CONN_MAX_FDS],
                                   size_t *n_leases);
Hakmem__ErrorCode client_lease(struct client *client, uint32_t n_slabs, uint32_t run_slabs,
                               struct lease leases[CONN_MAX_FDS], size_t *n_leases);
/* Sends Return of these ids and takes the answer; the caller has dropped them. */
Hakmem__ErrorCode client_return(struct client *client, const uint64_t *ids, size_t n,
                                uint32_t *n_accepted);
Hakmem__ErrorCode client_set_quota(struct client *client, const char *key, uint64_t value);
Hakmem__ErrorCode client_set_user_quota(struct client *client, const char *key, uint64_t value,
                                        uid_t uid);
Hakmem__ErrorCode client_trim(struct client *client, uint64_t *released_bytes);

/* Descriptors of the daemon's that its stock has now: one of each extent, fresh and recycled, and
 * what is opened ahead. */
uint64_t client_count_stock_fds(struct client *client);

/* client_connect() and client_hello(), which must be granted exactly one extent of one SuperSlab,
 * mapped. */
void client_begin(struct client *client, const struct daemon *daemon, struct lease *lease);

/* Maps it, and its SuperSlabs become ACTIVE. */
void lease_map(const struct client *client, struct lease *lease);
void lease_unmap(struct lease *lease);
void lease_close(struct lease *lease);
/* Changes the state of one SuperSlab as a client may. False: it was changed by the daemon
 * meanwhile. */
bool lease_change(const struct client *client, const struct lease *lease, uint32_t slab,
                  enum slab_state to);
enum slab_state lease_state(const struct client *client, const struct lease *lease, uint32_t slab);
/* Unmaps and closes it, and its slots become EMPTY, as a client does before Return. */
void lease_drop(const struct client *client, struct lease *lease);
/* All of it that client_begin() or a correct client does at the end: drop, Return (accepted), in
 * that order. */
void lease_give_back(struct client *client, struct lease *lease);

/* Is every byte of one SuperSlab, or of all, this one? And makes them so. */
bool lease_slab_is(const struct lease *lease, uint32_t slab, unsigned char value);
bool lease_is(const struct lease *lease, unsigned char value);
void lease_fill(const struct lease *lease, unsigned char value);

/* Bytes of pages that the file has now. */
uint64_t lease_backed_bytes(const struct lease *lease);

#endif
