/* See session.h. Non-blocking socket and poll, so that every wait is bounded by one deadline per
 * call. */
#include "hakmemctl/session.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Unpacked messages are several times as large as packed ones. */
#define ARENA_BYTES (8 * CONN_REPLY_MAX_BYTES)

struct session {
    int socket;
    uint64_t n_asked;
    int fds[CONN_MAX_FDS];
    size_t n_fds;
    struct wire_arena arena;
    unsigned char packet[CONN_REPLY_MAX_BYTES];
    unsigned char memory[ARENA_BYTES];
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 0 once the socket is ready, -ETIMEDOUT past the deadline. */
static int wait_until(int socket, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - now_ms();
        if (left_ms <= 0)
            return -ETIMEDOUT;
        struct pollfd wanted = {.fd = socket, .events = events};
        int n = poll(&wanted, 1, (int)left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

/* A full accept queue is no failure yet; there is no event to wait for, hence the short naps. */
static int connect_until(const char *path, int64_t deadline_ms, int *socket_out)
{
    for (;;) {
        int r = conn_connect(path, socket_out);
        if (r != -EAGAIN)
            return r;
        if (now_ms() >= deadline_ms)
            return -ETIMEDOUT;
        poll(NULL, 0, 10);
    }
}

int session_open(const char *path, struct session **session_out)
{
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->arena.bytes = session->memory;
    session->arena.capacity = sizeof(session->memory);
    int r = connect_until(path, now_ms() + SESSION_TIMEOUT_MS, &session->socket);
    if (r < 0) {
        free(session);
        return r;
    }
    *session_out = session;
    return 0;
}

static int send_until(struct session *session, size_t n_bytes, int64_t deadline_ms)
{
    for (;;) {
        int r = conn_send(session->socket, session->packet, n_bytes, NULL, 0);
        if (r != -EAGAIN)
            return r == -EPIPE ? -ECONNRESET : r;
        r = wait_until(session->socket, POLLOUT, deadline_ms);
        if (r < 0)
            return r;
    }
}

static int receive_until(struct session *session, size_t *n_bytes, int64_t deadline_ms)
{
    for (;;) {
        int r = conn_recv(session->socket, session->packet, sizeof(session->packet), n_bytes,
                          session->fds, &session->n_fds);
        if (r == CONN_CLOSED)
            return -ECONNRESET;
        if (r != -EAGAIN)
            return r;
        r = wait_until(session->socket, POLLIN, deadline_ms);
        if (r < 0)
            return r;
    }
}

static void drop_fds(struct session *session)
{
    conn_close_fds(session->fds, session->n_fds);
    session->n_fds = 0;
}

int session_ask(struct session *session, Hakmem__Request *request, Hakmem__Reply **reply_out)
{
    int64_t deadline_ms = now_ms() + SESSION_TIMEOUT_MS;
    size_t n_bytes;

    drop_fds(session);
    request->id = ++session->n_asked;
    int r = wire_pack_request(request, session->packet, CONN_REQUEST_MAX_BYTES, &n_bytes);
    if (r == 0)
        r = send_until(session, n_bytes, deadline_ms);
    if (r == 0)
        r = receive_until(session, &n_bytes, deadline_ms);
    if (r < 0)
        return r;

    Hakmem__Reply *reply;
    r = wire_unpack_reply(&session->arena, session->packet, n_bytes, &reply);
    if (r < 0)
        return r;
    /* A packet that could not be read as a request at all is answered with the id 0. */
    if (reply->id != request->id &&
        !(reply->id == 0 && reply->body_case == HAKMEM__REPLY__BODY_ERROR))
        return -EBADMSG;
    *reply_out = reply;
    return 0;
}

void session_take_fds(struct session *session, int fds[CONN_MAX_FDS], size_t *n_fds)
{
    for (size_t i = 0; i < session->n_fds; i++)
        fds[i] = session->fds[i];
    *n_fds = session->n_fds;
    session->n_fds = 0;
}

void session_close(struct session *session)
{
    if (!session)
        return;
    drop_fds(session);
    close(session->socket);
    free(session);
}
